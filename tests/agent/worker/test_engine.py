"""One payload to one document."""

import json
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.manifest import Raw
from maas_agent.errors import RuntimeFailure
from maas_agent.ipc import Answer, InferenceRequest
from maas_agent.processing.content import Form
from maas_agent.runtime.graph import Graph
from maas_agent.worker.engine import Engine
from tests.bundles import samples

SAMPLE = samples(1)[0]
ARRIVED = 1_700_000_000.25


def engine(graph: Graph, form: Form | None = None) -> Engine:
    return Engine(graph, "dev", "digits", form)


def request(payload: bytes, content_type: str | None = None) -> InferenceRequest:
    return InferenceRequest(7, "mine", payload, content_type, ARRIVED, time.monotonic() - 2.0)


def document_of(answer: Answer) -> dict[str, Any]:
    return json.loads(answer.document)


def test_an_answer_says_who_answered_what_and_when(graph: Graph) -> None:
    answer = engine(graph).answer(request(SAMPLE.tobytes()))
    assert (answer.sequence, answer.id, answer.code, answer.content_type) == (7, "mine", None, "application/json")
    document = document_of(answer)
    assert {key: document[key] for key in ("id", "time", "device", "pipeline", "model", "version")} == {
        "id": "mine",
        "time": "2023-11-14T22:13:20.250Z",
        "device": "dev",
        "pipeline": "digits",
        "model": "digits",
        "version": "1.0.0",
    }
    assert document["latency_ms"] == answer.latency_ms >= 2000
    best = int(np.argmax(graph.run(SAMPLE)["scores"]))
    assert document["result"]["label"] == f"class-{best}"


def test_a_bad_input_is_an_error_document_with_its_code(graph: Graph) -> None:
    answer = engine(graph).answer(request(b"[[1,2],[3]]"))
    document = document_of(answer)
    assert answer.code == document["error"]["code"] == "wrong_shape"
    assert document["error"]["message"]
    assert (answer.sequence, document["id"], document["time"]) == (7, "mine", "2023-11-14T22:13:20.250Z")
    assert "result" not in document and "latency_ms" not in document
    assert (document["device"], document["model"], document["version"]) == ("dev", "digits", "1.0.0")


def test_a_batch_is_answered_with_a_list_in_its_order(graph: Graph) -> None:
    batch = samples(4)
    results = document_of(engine(graph).answer(request(batch.tobytes())))["result"]
    assert results == [document_of(engine(graph).answer(request(s.tobytes())))["result"] for s in batch]
    assert len({result["label"] for result in results}) > 1  # else the order would not show


def test_one_bad_sample_of_a_batch_refuses_the_batch(graph: Graph) -> None:
    rows = samples(2).tolist()
    rows[1][0][0][0] = 300
    assert engine(graph).answer(request(json.dumps(rows).encode())).code == "wrong_dtype"


def oip(**fields: Any) -> bytes:
    tensor = {"name": "x", "shape": [2, 8, 8, 1], "datatype": "UINT8", "data": samples(2).reshape(-1).tolist()}
    return json.dumps({"inputs": [tensor]} | fields).encode()


def test_an_open_inference_request_is_answered_in_its_protocol(graph: Graph) -> None:
    answer = engine(graph).answer(request(oip(id="theirs")))
    response = document_of(answer)
    assert (response["id"], response["model_name"], response["model_version"]) == ("theirs", "digits", "1.0.0")
    (output,) = response["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("scores", [2, 10], "FP32")
    expected = np.concatenate([graph.run(sample)["scores"].reshape(-1) for sample in samples(2)])
    np.testing.assert_allclose(output["data"], expected, rtol=1e-6)
    assert [result["label"] for result in response["parameters"]["result"]] == [
        f"class-{int(np.argmax(row))}" for row in expected.reshape(2, 10)
    ]
    assert answer.id == "mine"  # the hub knows it by that


def test_an_open_inference_request_without_an_id_gets_that_of_its_topic(graph: Graph) -> None:
    assert document_of(engine(graph).answer(request(oip())))["id"] == "mine"


def test_a_bad_open_inference_request_is_an_error_document(graph: Graph) -> None:
    document = document_of(engine(graph).answer(request(oip(inputs=[]))))
    assert document["error"]["code"] == "wrong_shape"


def test_a_configured_form_is_used_unless_the_message_says_its_own(graph: Graph) -> None:
    text = json.dumps(SAMPLE.tolist()).encode()
    assert engine(graph, "raw").answer(request(text)).code == "wrong_shape"
    assert engine(graph, "raw").answer(request(text, "application/json")).code is None


def test_a_model_that_fails_is_an_internal_error_and_not_the_end(graph: Graph) -> None:
    class Failing:
        manifest = graph.manifest

        def run(self, _sample: Any) -> Any:
            raise RuntimeFailure("inference failed: out of cheese")

    answer = Engine(Failing(), "dev", "digits", None).answer(request(SAMPLE.tobytes()))  # type: ignore[arg-type]
    assert answer.code == "internal"
    assert "cheese" in document_of(answer)["error"]["message"]


def test_several_outputs_are_answered_by_name(graph: Graph) -> None:
    output = graph.manifest.outputs[0]
    raw = msgspec.structs.replace(
        output, tensor=msgspec.structs.replace(output.tensor, name="raw"), postprocess=Raw(), labels=()
    )

    class Twice:
        manifest = msgspec.structs.replace(graph.manifest, outputs=(output, raw))

        def run(self, sample: Any) -> Any:
            scores = graph.run(sample)["scores"]
            return {"scores": scores, "raw": scores}

    twice = Engine(Twice(), "dev", "digits", None)  # type: ignore[arg-type]
    result = document_of(twice.answer(request(SAMPLE.tobytes())))["result"]
    assert set(result) == {"scores", "raw"}
    assert max(result["raw"]["values"][0]) == pytest.approx(result["scores"]["score"], abs=1e-6)


class Sometimes:
    """A graph with two outputs, one of which an image of zeros does not have."""

    def __init__(self, graph: Graph) -> None:
        output = graph.manifest.outputs[0]
        more = msgspec.structs.replace(output, tensor=msgspec.structs.replace(output.tensor, name="more"))
        self.manifest = msgspec.structs.replace(graph.manifest, outputs=(output, more))
        self._graph = graph

    def run(self, sample: Any) -> Any:
        scores = self._graph.run(sample)["scores"]
        return {"scores": scores, "more": scores} if sample.any() else {"scores": scores}


def test_an_output_whose_stage_was_skipped_is_left_out(graph: Graph) -> None:
    sometimes = Engine(Sometimes(graph), "dev", "digits", None)  # type: ignore[arg-type]
    whole = document_of(sometimes.answer(request(SAMPLE.tobytes())))["result"]
    part = document_of(sometimes.answer(request(bytes(64))))["result"]
    assert set(whole) == {"scores", "more"}
    assert set(part) == {"scores"}  # still by name: an answer's form does not depend on the sample


def test_an_open_inference_response_has_the_outputs_that_all_samples_have(graph: Graph) -> None:
    """A tensor cannot lack rows; what each sample has is in the parameters."""
    sometimes = Engine(Sometimes(graph), "dev", "digits", None)  # type: ignore[arg-type]
    pixels = SAMPLE.reshape(-1).tolist()
    tensor = {"name": "x", "shape": [2, 8, 8, 1], "datatype": "UINT8", "data": pixels + [0] * 64}
    response = document_of(sometimes.answer(request(json.dumps({"inputs": [tensor]}).encode())))
    assert [output["name"] for output in response["outputs"]] == ["scores"]
    assert [set(result) for result in response["parameters"]["result"]] == [{"scores", "more"}, {"scores"}]
    both = {"inputs": [tensor | {"data": pixels + pixels}]}
    response = document_of(sometimes.answer(request(json.dumps(both).encode())))
    assert [output["name"] for output in response["outputs"]] == ["scores", "more"]
