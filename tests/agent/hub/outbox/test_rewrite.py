"""What becomes of a message on its way: its mark, its time, the error in its place. Outboxes are in test_outbox."""

import json
import time
from collections.abc import Iterator

import msgspec
import pytest

from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.rewrite import corrected, corrected_payload, error_instead, replayed

RESULT = b'{"id":"1","latency_ms":0.808,"result":{"label":"7","score":0.785156}}'
RESPONSE = b'{"model_name":"m","id":"1","outputs":[{"name":"y","data":[0.1,1e-7]}],"parameters":{"device":"d"}}'


def marked(payload: bytes) -> bytes:
    message = replayed(Outbound("out", payload, 1), 0.0)
    assert message is not None
    return message.payload


def test_a_result_is_marked_and_stays_as_it_is_to_the_digit() -> None:
    assert marked(RESULT) == RESULT[:-1] + b',"replayed":true}'


def test_an_open_inference_response_is_marked_in_its_parameters() -> None:
    assert json.loads(marked(RESPONSE)) == json.loads(RESPONSE) | {"parameters": {"device": "d", "replayed": True}}
    assert b'"outputs":[{"name":"y","data":[0.1,1e-7]}]' in marked(RESPONSE)
    without = b'{"model_name":"m","outputs":[]}'
    assert json.loads(marked(without)) == {"model_name": "m", "outputs": [], "parameters": {"replayed": True}}


@pytest.mark.parametrize("payload", [b"", b"\xff\xd8", b"[1]", b"3", b'{"a":', b'{"\xff":1}', b'{"a":' * 5000])
def test_what_is_no_object_stays_as_it_is(payload: bytes) -> None:
    assert marked(payload) == payload


def test_everything_else_of_the_message_is_kept_and_a_property_says_it_too() -> None:
    message = Outbound("out/1", b"raw", 1, True, "image/png", b"\x01", None, (("site", "north"),))
    kept = replayed(message, 1e9)
    assert kept == Outbound(
        "out/1", b"raw", 1, True, "image/png", b"\x01", None, (("site", "north"), ("replayed", "true"))
    )


@pytest.mark.parametrize(("waited_s", "left_s"), [(0.0, 10), (3.2, 7), (9.5, 1)])
def test_what_expires_has_less_time_left(waited_s: float, left_s: int) -> None:
    message = replayed(Outbound("answers", RESULT, 1, expiry_s=10), waited_s)
    assert message is not None and message.expiry_s == left_s


@pytest.mark.parametrize("waited_s", [10.0, 86_400.0])
def test_what_has_expired_is_not_sent(waited_s: float) -> None:
    assert replayed(Outbound("answers", RESULT, 1, expiry_s=10), waited_s) is None


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


def test_an_error_in_the_place_of_a_retained_document_is_not_retained() -> None:
    message = Outbound("out", msgspec.json.encode(HEAD | {"result": 1}), 1, retain=True)
    error = error_instead(message, TooLargeError(70_000, 65_536), 0.0)
    assert error is not None and not error.retain


def test_an_open_inference_response_without_parameters_has_its_model_at_least() -> None:
    response = {"model_name": "digits", "model_version": "1.0.0", "id": "7", "outputs": []}
    found = instead_of(response)
    assert found == MODEL | {"id": "7", "time": "2026-09-21T14:13:20.500Z", "error": ERROR}


def test_only_a_response_is_marked_as_one() -> None:
    assert json.loads(marked(b'{"outputs":[],"parameters":1}')) == {"outputs": [], "parameters": 1, "replayed": True}
    assert json.loads(marked(b'{"model_name":"m"}')) == {"model_name": "m", "replayed": True}


# ------------------------------------------------------------------ the time

NOON = b'{"id":"1","time":"2026-11-27T12:00:00.000Z","result":0.785156}'


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in a zone of its own."""
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("said", "error_s", "right"),
    [
        ("2026-11-27T12:00:00.000Z", 60.0, "2026-11-27T12:01:00.000Z"),
        ("2026-11-27T12:00:00.000Z", -0.5, "2026-11-27T11:59:59.500Z"),
        ("2026-11-27T12:00:00.000+01:00", 60.0, "2026-11-27T11:01:00.000Z"),
        ("2026-11-27T12:00:00", 60.0, "2026-11-27T12:01:00.000Z"),  # without a zone it is UTC
        ("1970-01-01T00:00:10.000Z", -60.0, "1970-01-01T00:00:00.000Z"),  # no machine had a clock before
    ],
)
def test_a_time_is_moved_by_the_error_and_that_is_said(said: str, error_s: float, right: str) -> None:
    payload = NOON.replace(b"2026-11-27T12:00:00.000Z", said.encode())
    moved = corrected_payload(payload, error_s)
    assert moved == (b'{"id":"1","time":"%s","result":0.785156,"time_corrected":true}' % right.encode())


@pytest.mark.parametrize(
    ("payload", "error_s"),
    [
        (NOON, 0.0),
        (NOON, 1e300),
        *((payload, 60.0) for payload in (b"", b"raw", b"[1]", b"{}", b'{"time":3}', b'{"time":"noon"}')),
    ],
)
def test_what_has_no_time_or_nothing_to_correct_is_the_very_same(payload: bytes, error_s: float) -> None:
    assert corrected_payload(payload, error_s) is payload
    message = Outbound("out", payload, 1)
    assert corrected(message, error_s) is message


def test_a_message_whose_time_was_corrected_says_so_by_a_property_and_keeps_everything_else() -> None:
    message = Outbound("out/1", NOON, 1, True, "application/json", b"\x01", 9, (("site", "north"),))
    properties = (("site", "north"), ("time_corrected", "true"))
    assert corrected(message, 60.0) == msgspec.structs.replace(
        message, payload=corrected_payload(NOON, 60.0), user_properties=properties
    )
