"""The mark of what was held up: in the document, as a user property, and nowhere where it would break something."""

import json

import pytest

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.replay_mark import replayed

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
