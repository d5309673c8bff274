"""From a ``.tflite`` file to what a device publishes: every score is the model's own, as LiteRT gives it."""

import json

import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Classification, Decode, Multilabel, Raw
from maas_agent.errors import DataError
from maas_agent.ipc import InferenceRequest
from maas_agent.processing.decode import decode
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_agent.worker.engine import Engine
from maas_converter.base.console import SilentProgress
from maas_converter.bench.blobs import unpack
from maas_converter.convert.conversion import convert
from maas_converter.convert.request import ConversionRequest
from maas_converter.evidence.evaluate import evaluate_bundle
from tests.converter.shared import shared
from tests.converter.tflite.graphs import Body, Op, chain, tflite

X = np.array([[2.0, -1.0, 0.5, -3.0], [-4.0, -4.0, -4.0, -4.0], [0.0, 1.0, 2.0, 3.0]], np.float32)


@pytest.fixture
def converted(tmp_path):
    """Convert the bytes of a model; ``y`` are classes of the rows of `X`, ``names`` the labels."""

    def run(model, names=(), y=None, classes=(), **more):
        source = tmp_path / "model.tflite"
        source.write_bytes(model)
        if names:
            (tmp_path / "labels.txt").write_text("\n".join(names))
            more["labels"] = tmp_path / "labels.txt"
        if y is not None:
            arrays = {"classes": np.array(classes)} if classes else {}
            width = 1 if b"WIDTH1" in model else 4
            np.savez(tmp_path / "data.npz", x=X[:, :width], y=np.asarray(y), **arrays)
            more["evaluation"] = tmp_path / "data.npz"
        out = tmp_path / "model.maas"
        return convert(ConversionRequest(source, "model", "1.0.0", out, quantize="float32", **more), SilentProgress())

    return run


def engine_of(path, folder):
    with open_bundle(path) as bundle:
        blobs = unpack(bundle, folder)
        graph = Graph(bundle.manifest, blobs.path, accelerator("cpu"), 1)
    return Engine(graph, "device", "pipeline", None)


def published(path, folder, payload, content_type=None):
    answer = engine_of(path, folder).answer(
        InferenceRequest(1, "1", payload, content_type, arrived=0.0, arrived_at=0.0)
    )
    return json.loads(answer.document), answer


def one_value(*kinds):
    """A model (1, 1) to (1, 1) of these ops."""
    names = ["x", *(f"WIDTH1_{number}" for number in range(len(kinds)))]
    ops = tuple(Op(kind, (names[at],), (names[at + 1],)) for at, kind in enumerate(kinds))
    return tflite(Body(ops, ("x",), (names[-1],), shapes=dict.fromkeys(names, (1, 1))))


def logistic(values):
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def test_sigmoid_scores_stay_independent_and_those_above_the_threshold_are_named(converted, tmp_path):
    done = converted(chain("LOGISTIC"), ("cat", "dog", "tree", "car"))
    with open_bundle(tmp_path / "model.maas") as bundle:
        assert bundle.manifest.outputs[0].postprocess == Multilabel(threshold=0.5)
        assert bundle.manifest.schema == 2
    assert any("a sigmoid makes them" in note for note in done.notes)
    document, answer = published(tmp_path / "model.maas", tmp_path, X[0].tobytes())
    expected = logistic(X[0])
    assert list(document["result"]["scores"]) == ["cat", "dog", "tree", "car"]
    assert list(document["result"]["scores"].values()) == pytest.approx(expected, abs=1e-6)
    assert document["result"]["labels"] == [
        ["cat", pytest.approx(expected[0], abs=1e-6)],
        ["tree", pytest.approx(expected[2], abs=1e-6)],
    ]
    assert answer.gist == "cat, tree"
    document, answer = published(tmp_path / "model.maas", tmp_path, X[1].tobytes())
    assert (document["result"]["labels"], answer.gist) == ([], "")


def test_an_open_inference_response_carries_the_labels_beside_the_tensor(converted, tmp_path):
    converted(chain("LOGISTIC"), ("cat", "dog", "tree", "car"))
    request = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X[0].tolist()}]}
    document, _ = published(tmp_path / "model.maas", tmp_path, json.dumps(request).encode())
    assert document["outputs"][0]["data"] == pytest.approx(logistic(X[0]), abs=1e-6)
    assert [label for label, _ in document["parameters"]["result"][0]["labels"]] == ["cat", "tree"]


def test_one_sigmoid_is_the_score_of_the_second_label_and_its_accuracy_is_judged(converted, tmp_path):
    done = converted(one_value("LOGISTIC"), ("no", "yes"), y=[1, 0, 1])
    with open_bundle(tmp_path / "model.maas") as bundle:
        assert bundle.manifest.outputs[0].postprocess == Classification(top=2, binary=True)
    # sigmoid(2), sigmoid(-4), sigmoid(0): the last is a tie, which the first class wins
    assert done.metrics.accuracy["data"].bundle == pytest.approx(2 / 3)
    document, answer = published(tmp_path / "model.maas", tmp_path, X[0, :1].tobytes())
    score = logistic(X[0, :1])[0]
    assert document["result"]["label"] == "yes" == answer.gist
    assert document["result"]["top"] == [
        ["yes", pytest.approx(score, abs=1e-6)],
        ["no", pytest.approx(1 - score, abs=1e-6)],
    ]
    found = evaluate_bundle(tmp_path / "model.maas", tmp_path / "data.npz", SilentProgress())
    assert (found.score.correct, [one.label for one in found.score.classes]) == (2, ["no", "yes"])


def test_one_logit_becomes_a_score_by_the_sigmoid_that_was_asked_for(converted, tmp_path):
    done = converted(one_value("NEG"), ("no", "yes"), y=[0, 1, 0], activation="sigmoid")
    assert done.metrics.accuracy["data"].bundle == 1.0
    document, _ = published(tmp_path / "model.maas", tmp_path, X[1, :1].tobytes())
    assert document["result"]["score"] == pytest.approx(logistic(-X[1, :1])[0], abs=1e-6)


def test_two_names_in_the_data_are_labels_of_one_value(converted, tmp_path):
    done = converted(one_value("LOGISTIC"), y=[1, 0, 0], classes=("off", "on"))
    assert done.metrics.accuracy["data"].bundle == 1.0
    document, _ = published(tmp_path / "model.maas", tmp_path, X[1, :1].tobytes())
    assert document["result"]["label"] == "off"


def test_more_names_than_one_value_tells_apart_are_refused(converted):
    with pytest.raises(DataError, match="one value tells two apart"):
        converted(one_value("LOGISTIC"), ("a", "b", "c"))


def test_a_quantized_imagenet_classifier_names_the_right_class_with_the_models_own_score(tmp_path):
    source, labels = shared("mobilenet/mobilenet_v1_0.25_128_quant.tflite"), shared("mobilenet/imagenet_labels.txt")
    out = tmp_path / "mobilenet.maas"
    pixels = '[decode]\nshape = [128, 128, 3]\ndtype = "uint8"\n[[preprocess]]\nop = "scale"\n'
    (tmp_path / "pixels.toml").write_text(f"{pixels}scale = 0.0078125\noffset = -1.0\n")
    convert(
        ConversionRequest(source, "mobilenet", "1.0.0", out, labels=labels, preprocess=tmp_path / "pixels.toml"),
        SilentProgress(),
    )
    names = labels.read_text().splitlines()
    for photo, name in (("cat_720p.jpg", "cat"), ("owl.jpg", "hare")):  # what LiteRT says of them alone, too
        path = shared(f"mobilenet/{photo}")
        document, _ = published(out, tmp_path, path.read_bytes(), "image/jpeg")
        stored = plain_litert(source, path)
        assert name in document["result"]["label"]
        assert document["result"]["label"] == names[int(stored.argmax())]
        assert document["result"]["score"] == pytest.approx(stored.max() / 256, abs=1e-6)


def plain_litert(model, photo):
    """The stored scores (1001,) of the photo, read as the sample is, its pixels given as they are."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    picture = decode(photo.read_bytes(), Decode((128, 128, 3), "uint8"), "image/jpeg", None).samples
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def test_one_hot_classes_of_the_data_are_judged_as_classes(converted):
    done = converted(chain("LOG_SOFTMAX"), ("a", "b", "c", "d"), y=np.eye(4)[[0, 1, 3]])
    # Of four equal values the first wins: the second sample is taken for "a".
    assert done.metrics.accuracy["data"].bundle == pytest.approx(2 / 3)
    assert any("one-hot" in note for note in done.notes)


def test_normal_and_other_samples_are_an_anomaly_score_of_a_model_that_repeats_its_input(converted):
    done = converted(chain("NEG"), y=[1, 0, 0], classes=("anomaly", "normal"))
    assert list(done.metrics.anomaly) == ["data"]
    assert any("'anomaly' is what is to be found" in note for note in done.notes)


def test_a_score_without_a_sigmoid_is_no_classifier_of_normal_samples(converted):
    done = converted(one_value("NEG"), y=[0, 1, 1], classes=("anomaly", "normal"))
    # -2, 4 and 0 of one anomaly and two normal samples: as a score it is the lowest.
    assert done.metrics.anomaly["data"].bundle_auc == 0.0


def test_an_input_without_a_batch_is_a_whole_sample(converted, tmp_path):
    shape = (4, 4, 3)
    graph = Body((Op("LOGISTIC", ("x",), ("y",)),), ("x",), ("y",), shapes={"x": shape, "y": shape})
    done = converted(tflite(graph))
    assert any("has no batch of 1: a sample is all of it, [4, 4, 3]" in note for note in done.notes)
    sample = np.linspace(-2, 2, 48, dtype=np.float32).reshape(shape)
    document, _ = published(tmp_path / "model.maas", tmp_path, sample.tobytes())
    assert np.asarray(document["result"]["values"]) == pytest.approx(logistic(sample), abs=1e-6)


@pytest.mark.parametrize(("op", "activation"), [("LOGISTIC", "auto"), ("NEG", "sigmoid")])
def test_several_labels_are_judged_by_their_scores_and_by_how_many_are_right(converted, tmp_path, op, activation):
    y = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
    done = converted(chain(op), ("a", "b", "c", "d"), y=y, activation=activation)
    scores = logistic(X if op == "LOGISTIC" else -X)
    assert done.metrics.regression["data"].bundle_mae == pytest.approx(np.abs(scores - y).mean(), abs=1e-6)
    right = f"{np.mean((scores >= 0.5) == (y == 1)):.2%} of the labels are right at the threshold 0.5; micro F1 "
    assert any(note.startswith(right) for note in done.notes)
    found = evaluate_bundle(tmp_path / "model.maas", tmp_path / "data.npz", SilentProgress())
    assert found.score.mae.value == pytest.approx(np.abs(scores - y).mean(), abs=1e-6)
    assert any(note.startswith(right) for note in found.notes)


def test_of_several_outputs_those_with_a_class_for_each_label_have_them(converted, tmp_path):
    ops = (Op("NEG", ("x",), ("scores",)), Op("SLICE", ("x", "at", "size"), ("box",)))
    constants = {"at": np.array([0, 1], np.int32), "size": np.array([1, 2], np.int32)}
    graph = Body(ops, ("x",), ("scores", "box"), constants=constants, shapes={"box": (1, 2)})
    converted(tflite(graph), ("a", "b", "c", "d"), activation="sigmoid")
    with open_bundle(tmp_path / "model.maas") as bundle:
        kinds = {output.tensor.name: output.postprocess for output in bundle.manifest.outputs}
    assert kinds == {"scores": Multilabel(activation="sigmoid"), "box": Raw()}
