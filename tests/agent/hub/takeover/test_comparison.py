"""Whether a candidate answers as the active bundle does."""

from typing import Any

import msgspec
import pytest

from maas_agent.base import codes
from maas_agent.config import ShadowSettings
from maas_agent.hub.takeover.comparison import ShadowComparison, agree, hopeless, verdict
from maas_agent.ipc import Answer

TERMS = ShadowSettings(samples=100)
SEVEN, FOUR = {"label": "7", "score": 0.9}, {"label": "4", "score": 0.5}
CATS, DOGS = ({"labels": [[name, 0.9]], "scores": {"cat": 0.9, "dog": 0.9}} for name in ("cat", "dog"))
NEAR, FAR = {"values": [[1.0, 100.0]]}, {"values": [[1.0, 106.0]]}


def answer(result: Any, took_ms: float = 1.0) -> Answer:
    return Answer(1, "x", msgspec.json.encode({"id": "x", "result": result}), 5.0, None, took_ms=took_ms)


def error(code: str) -> Answer:
    return Answer(1, "x", msgspec.json.encode({"id": "x", "error": {"code": code}}), 5.0, code)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (answer(SEVEN), answer({"label": "7", "score": 0.2}), True),
        (answer(SEVEN), answer(FOUR), False),
        (answer(NEAR), answer({"values": [[1.0, 104.9]]}), True),
        (answer(NEAR), answer(FAR), False),
        (answer(NEAR), answer({"values": [[1.0, None]]}), False),
        (answer(NEAR), answer({"values": [1.0]}), False),
        (answer([SEVEN, FOUR]), answer([SEVEN, FOUR]), True),
        (answer([SEVEN, FOUR]), answer([SEVEN, SEVEN]), False),
        (answer([SEVEN]), answer([SEVEN, FOUR]), False),
        (answer({"kind": SEVEN, "level": NEAR}), answer({"kind": SEVEN, "level": NEAR}), True),
        (answer({"kind": SEVEN, "level": NEAR}), answer({"kind": SEVEN, "level": FAR}), False),
        (answer({"kind": SEVEN, "level": NEAR}), answer({"kind": SEVEN}), False),
        (answer(SEVEN), answer(NEAR), False),
        (answer(CATS), answer({"labels": [["cat", 0.6]], "scores": {"cat": 0.6, "dog": 0.1}}), True),
        (answer(CATS), answer(DOGS), False),
        (answer(CATS), answer({"labels": [], "scores": {}}), False),
        (answer(SEVEN), error(codes.WRONG_SHAPE), False),
        (error(codes.BAD_JSON), error(codes.BAD_JSON), True),
        (error(codes.BAD_JSON), error(codes.INTERNAL), False),
    ],
)
def test_answers_agree_if_they_say_the_same(one: Answer, other: Answer, expected: bool) -> None:
    assert agree(one, other, 0.05) is expected
    assert agree(one, one, 0.0) and agree(other, other, 0.0) is (b"null" not in other.document)


def test_responses_of_the_open_inference_protocol_are_compared_by_their_result() -> None:
    def response(result: Any) -> Answer:
        document = {"model_name": "m", "outputs": [], "parameters": {"result": [result]}}
        return Answer(1, "x", msgspec.json.encode(document), 5.0, None)

    assert agree(response(SEVEN), response(SEVEN), 0.05)
    assert not agree(response(SEVEN), response(FOUR), 0.05)


def compared(agreed: int, others: int, candidate_ms: float = 1.0) -> ShadowComparison:
    made = ShadowComparison()
    for result in [SEVEN] * agreed + [FOUR] * others:
        made.add(answer(SEVEN), answer(result, candidate_ms), 0.05)
    return made


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (compared(98, 2), None),
        (compared(97, 3), "it agreed on 97 of 100 inputs (97.0%); asked for is 98.0%"),
        (compared(100, 0, 1.4), None),
        (compared(100, 0, 1.6), "an answer took 1.60 times as long (median of 100); allowed is 1.5"),
    ],
)
def test_the_verdict_names_the_figures(found: ShadowComparison, reason: str | None) -> None:
    said = verdict(found, TERMS)
    assert said is None if reason is None else reason in str(said)


def test_what_cannot_be_saved_any_more_is_judged_at_once() -> None:
    assert not hopeless(compared(0, 2), TERMS)
    assert hopeless(compared(0, 3), TERMS)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"3",
        b'{"result": {"values": ["a"]}}',
        b'{"result": {"values": [{}]}}',
        b'{"result": {"values": 1' + b"0" * 400 + b"}}",
        b'{"result": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"result": {"values": ' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"parameters": 3}',
        b'{"result": "\xff"}',
    ],
)
def test_a_candidate_that_answers_with_garbage_does_not_agree(said: bytes) -> None:
    """It comes from a process that runs a model nobody has judged yet: it must not end the hub."""
    garbage = msgspec.structs.replace(answer(NEAR), document=said)
    assert not agree(answer(NEAR), garbage, 0.05)
    assert not agree(garbage, answer(NEAR), 0.05)
