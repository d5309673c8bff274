"""Whether a candidate answers as the active bundle does."""

from sys import float_info
from typing import Any

import msgspec
import pytest

from maas_agent.base import codes
from maas_agent.config import ShadowSettings
from maas_agent.hub.takeover.comparison import ShadowComparison, agree, hopeless, same, verdict
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


def test_what_was_compared_is_counted_and_timed() -> None:
    made = ShadowComparison()
    made.add(answer(NEAR, 3.0), answer({"values": [[1.0, 104.0]]}, 5.0), 0.05)
    made.add(answer(NEAR, 4.0), answer(FAR, 6.0), 0.05)
    made.add(error(codes.BAD_JSON), error(codes.BAD_JSON), 0.05)
    made.add(answer(NEAR), error(codes.BAD_JSON), 0.05)
    made.add(error(codes.BAD_JSON), answer(NEAR), 0.05)
    assert (made.samples, made.agreed) == (5, 2)
    assert (list(made.active_ms), list(made.candidate_ms)) == ([3.0, 4.0], [5.0, 6.0])
    assert (made.agreement, made.latency_ratio) == (0.4, 1.5)


def test_nothing_compared_is_full_agreement() -> None:
    made = ShadowComparison()
    assert (made.agreement, made.latency_ratio) == (1.0, 1.0)
    assert verdict(made, TERMS) is None and not hopeless(made, TERMS)


def test_the_times_of_the_latest_thousand_are_kept() -> None:
    made = ShadowComparison()
    for number in range(1001):
        made.add(answer(SEVEN, float(number)), answer(SEVEN, float(number)), 0.05)
    assert (made.samples, len(made.active_ms), len(made.candidate_ms), made.active_ms[0]) == (1001, 1000, 1000, 1.0)


@pytest.mark.parametrize(
    ("agreed", "others", "candidate_ms", "reason"),
    [
        (98, 2, 1.0, None),
        (97, 3, 1.0, "it agreed on 97 of 100 inputs (97.0%); asked for is 98.0%"),
        (100, 0, 1.5, None),
        (100, 0, 1.6, "an answer took 1.60 times as long (median of 100); allowed is 1.5"),
    ],
)
def test_the_verdict_is_the_whole_sentence(agreed: int, others: int, candidate_ms: float, reason: str | None) -> None:
    said = verdict(compared(agreed, others, candidate_ms), TERMS)
    assert said == (None if reason is None else f"in the shadow of the active bundle {reason}")


def test_an_error_agrees_with_no_result_whatever_it_carries() -> None:
    carries = msgspec.structs.replace(answer(SEVEN), code=codes.INTERNAL)
    assert not agree(answer(SEVEN), carries, 0.05)
    assert not agree(carries, answer(SEVEN), 0.05)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([NEAR, NEAR], [NEAR, {"values": [[1.0, 104.0]]}], True),
        ([NEAR, NEAR], [NEAR, FAR], False),
        ({"values": []}, {"values": []}, True),
        ({"values": [float_info.max]}, {"values": [float_info.max]}, True),
        ({"values": [0.0]}, {"values": [0.0]}, True),
        ({"values": [100.0]}, {"values": [105.0]}, True),  # exactly the tolerance
        ({"values": [True]}, {"values": [1]}, True),
        ({"values": [-100.0, 0.0]}, {"values": [-100.0, 4.0]}, True),  # of the largest, whatever its sign
        ({"labels": [["cat", 0.9], [], "x"], "scores": {}}, {"labels": [["cat", 0.1]], "scores": {}}, True),
        (3, 3, False),  # no form of a result
        ("7", "7", False),
        ({}, {}, True),
        ([], [], True),
    ],
)
def test_results_are_the_same_by_their_form(one: Any, other: Any, expected: bool) -> None:
    assert same(one, other, 0.05) is expected


def nested(levels: int) -> Answer:
    return Answer(1, "x", b'{"result": ' + b"[" * levels + b'{"label": "7"}' + b"]" * levels + b"}", 5.0, None)


def test_a_result_is_compared_up_to_32_levels_deep() -> None:
    assert agree(nested(31), nested(31), 0.05)
    assert not agree(nested(32), nested(32), 0.05)
