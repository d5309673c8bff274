"""Inputs in every form, by a real broker, to a real agent."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bundles import samples
from tests.system.brokers import Mosquitto
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device


def png_of(sample: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(sample.reshape(8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_raw_json_and_png_of_one_sample_get_one_answer(shared: tuple[Device, Console]) -> None:
    _, console = shared
    sample = samples(1)[0]
    raw = console.ask("dev", "digits", sample.tobytes(), "raw")
    from_json = console.ask("dev", "digits", json.dumps(sample.tolist()), "json")
    from_png = console.ask("dev", "digits", png_of(sample), "png")
    assert raw["result"] == from_json["result"] == from_png["result"]
    assert raw["id"] == "raw"
    assert (raw["device"], raw["pipeline"], raw["model"], raw["version"]) == ("dev", "digits", "digits", "1.0.0")
    assert raw["latency_ms"] > 0
    top = raw["result"]["top"]
    assert raw["result"]["label"] == top[0][0]
    assert [score for _, score in top] == sorted((score for _, score in top), reverse=True)


def test_a_batch_is_answered_with_a_list_in_its_order(shared: tuple[Device, Console]) -> None:
    _, console = shared
    batch = samples(3)
    one_by_one = [console.ask("dev", "digits", sample.tobytes(), f"s{i}")["result"] for i, sample in enumerate(batch)]
    assert console.ask("dev", "digits", batch.tobytes(), "raw-batch")["result"] == one_by_one
    assert console.ask("dev", "digits", json.dumps(batch.tolist()), "json-batch")["result"] == one_by_one


def test_an_open_inference_request_gets_an_open_inference_response(shared: tuple[Device, Console]) -> None:
    _, console = shared
    sample = samples(1)[0]
    request = {
        "id": "mine",
        "inputs": [{"name": "x", "shape": [1, 8, 8, 1], "datatype": "UINT8", "data": sample.reshape(-1).tolist()}],
    }
    response = console.ask("dev", "digits", json.dumps(request), "oip")
    assert (response["model_name"], response["model_version"], response["id"]) == ("digits", "1.0.0", "mine")
    (output,) = response["outputs"]
    assert (output["shape"], output["datatype"], len(output["data"])) == ([1, 10], "FP32", 10)
    assert response["parameters"]["result"][0]["score"] == round(max(output["data"]), 6)


def test_an_input_without_an_id_gets_one(shared: tuple[Device, Console]) -> None:
    _, console = shared
    console.forget()
    console.publish("maas/dev/digits/in", samples(1)[0].tobytes())
    console.publish("maas/dev/digits/in", samples(1)[0].tobytes())
    answers = console.wait_for_count("maas/dev/digits/out", 2)
    assert {message.topic for message in answers} == {"maas/dev/digits/out"}
    assert len({message.document["id"] for message in answers}) == 2


def test_a_request_is_answered_on_its_response_topic_with_its_correlation_data(shared: tuple[Device, Console]) -> None:
    _, console = shared
    console.publish(
        "maas/dev/digits/in/rt", samples(1)[0].tobytes(), ResponseTopic="app/answers", CorrelationData=b"\x00\x01"
    )
    answer = console.wait("app/answers")
    assert answer.properties.CorrelationData == b"\x00\x01"
    assert answer.properties.ContentType == "application/json"
    assert answer.document == console.wait("maas/dev/digits/out/rt").document


def test_the_content_type_decides_how_bytes_are_read(shared: tuple[Device, Console]) -> None:
    _, console = shared
    # 64 bytes are one raw sample even when they begin like JSON; unless the sender says what they are.
    looks_like_json = b"[" + bytes(63)
    assert "result" in console.ask("dev", "digits", looks_like_json, "unsaid")
    said = console.ask("dev", "digits", looks_like_json, "said", ContentType="application/json")
    assert said["error"]["code"] == "bad_json"


def test_status_is_online_while_it_runs_offline_after_a_crash_and_stopped_after_a_clean_end(
    serving: Device, console: Console
) -> None:
    online = console.wait("maas/dev/status", lambda status: status["status"] == "online")
    assert online.document["agent"]
    serving.kill()
    console.wait("maas/dev/status", lambda status: status["status"] == "offline")
    console.forget()
    serving.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    assert serving.stop() == 0
    console.wait("maas/dev/status", lambda status: status["status"] == "stopped")


def test_state_tells_version_digest_and_accelerator(serving: Device, console: Console) -> None:
    state = console.wait("maas/dev/digits/state", lambda state: state["serving"]).document
    assert state["active"]["version"] == "1.0.0"
    assert len(state["active"]["digest"]) == 64
    assert (state["accelerator"], state["update"]["state"]) == ("cpu", "active")


def test_metrics_count_answers_and_time_them(serving: Device, console: Console) -> None:
    for number in range(10):
        console.ask("dev", "digits", samples(1)[0].tobytes(), str(number))
    metrics = console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["latency_ms"]["count"])
    digits = metrics.document["pipelines"]["digits"]
    assert digits["latency_ms"]["p99"] >= digits["latency_ms"]["p50"] > 0
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["answered"] == 10)


def test_inputs_of_a_group_are_answered_by_one_of_its_devices(make_device, console: Console, bundle) -> None:  # type: ignore[no-untyped-def]
    pipeline = f'[[pipeline]]\nname = "digits"\nbundle = "{bundle}"\nallow_unsigned = true\n'
    for name in ("one", "two"):
        device = make_device(pipeline, name)
        text = device.config.read_text().replace("[device]\n", '[device]\ngroups = ["line-1"]\n')
        device.config.write_text(text)
        device.start()
        console.wait(f"maas/{name}/digits/state", lambda state: state["serving"])
    for number in range(20):
        console.publish(f"maas/groups/line-1/digits/in/{number}", samples(1)[0].tobytes())
    answers = console.wait_for_count("maas/groups/line-1/digits/out/", 20)
    assert sorted(int(answer.document["id"]) for answer in answers) == list(range(20))
    assert {answer.document["device"] for answer in answers} == {"one", "two"}


def test_the_last_result_is_kept_for_who_subscribes_later_if_that_is_asked_for(
    make_device: MakeDevice, broker: Mosquitto, console: Console, bundle: Path
) -> None:
    """Of the topic that has no id: one that has would leave a message with the broker for each input."""
    device = make_device(LOCAL.format(bundle=bundle) + "[pipeline.report]\nretain = true\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    last = None
    for number, sample in enumerate(samples(2)):
        console.publish("maas/dev/digits/in", sample.tobytes())
        last = console.wait_for_count("maas/dev/digits/out", number + 1)[-1].document
    console.publish("maas/dev/digits/in", b"no sample")
    console.wait_for_count("maas/dev/digits/out", 3)
    console.ask("dev", "digits", samples(1)[0].tobytes(), "mine")
    console.publish("maas/dev/digits/in/rt", samples(1)[0].tobytes(), ResponseTopic="app/answers")
    console.wait("app/answers")

    later = Console(broker.port, "later", ("maas/dev/digits/out/#", "app/#", "maas/dev/status"))
    later.wait("maas/dev/status")
    assert [(one.topic, one.retain, one.document) for one in later.on("maas/dev/digits")] == [
        ("maas/dev/digits/out", True, last)
    ]
    assert later.on("app") == []
    later.close()
