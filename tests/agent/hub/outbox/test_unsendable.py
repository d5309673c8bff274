"""What is sent instead of a result that is larger than the broker takes."""

import msgspec
import pytest

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.packet_limit import TooLargeError
from maas_agent.hub.outbox.unsendable import error_instead

ERROR = {
    "code": "result_too_large",
    "message": "the result takes 70000 bytes on the wire, and the broker takes 65536",
}
HEAD = {"id": "7", "time": "2026-11-27T12:00:00.000Z", "device": "dev", "pipeline": "digits"}
MODEL = {"model": "digits", "version": "1.0.0"}


def instead_of(document: object) -> object:
    message = Outbound("out/7", msgspec.json.encode(document), 1, correlation=b"c", expiry_s=60)
    error = error_instead(message, TooLargeError(70_000, 65_536), 1_790_000_000.5)
    if error is None:
        return None
    assert msgspec.structs.replace(error, payload=message.payload) == message
    return msgspec.json.decode(error.payload)


def test_an_error_has_the_head_of_its_result() -> None:
    assert instead_of(HEAD | MODEL | {"latency_ms": 1.5, "result": [0] * 9}) == HEAD | MODEL | {"error": ERROR}
    assert instead_of(HEAD | {"result": "x"}) == HEAD | {"error": ERROR}


def test_a_response_of_the_open_inference_protocol_has_its_head_in_other_places() -> None:
    response = {
        "model_name": "digits",
        "model_version": "1.0.0",
        "id": "7",
        "outputs": [{"name": "output", "shape": [1], "datatype": "FP32", "data": [0.5]}],
        "parameters": {"device": "dev", "pipeline": "digits", "result": ["x"]},
    }
    assert instead_of(response) == HEAD | MODEL | {"time": "2026-09-21T14:13:20.500Z", "error": ERROR}


@pytest.mark.parametrize(
    "document",
    [HEAD | {"error": ERROR}, {"status": "online"}, {"outputs": []}, {"outputs": [], "parameters": 1}, [1], 1],
)
def test_nothing_is_sent_instead_of_what_is_no_result(document: object) -> None:
    assert instead_of(document) is None


def test_nothing_is_sent_instead_of_what_is_no_json() -> None:
    assert error_instead(Outbound("out", b"\xff\x00", 1), TooLargeError(2, 1), 0.0) is None
