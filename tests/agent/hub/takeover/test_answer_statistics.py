"""Whether one bundle's answers are worse than another's."""

from random import Random

import pytest

from maas_agent.base import codes
from maas_agent.config import UpdateSettings
from maas_agent.hub.takeover.answer_statistics import AnswerStatistics, AnswerSummary, Gist, at_least, drift, worse
from maas_agent.ipc import Answer

BOUNDS = UpdateSettings()
GOOD = AnswerSummary(answers=100, p50_ms=1.0, gists=("a", "b") * 50)


def summary(**changes: object) -> AnswerSummary:
    fields = {name: getattr(GOOD, name) for name in GOOD.__struct_fields__} | changes
    return AnswerSummary(**fields)


def drawn(weights: dict[str, float], count: int, seed: int) -> tuple[Gist, ...]:
    return tuple(Random(seed).choices(list(weights), list(weights.values()), k=count))


def normal(mean: float, deviation: float, count: int, seed: int) -> tuple[Gist, ...]:
    random = Random(seed)
    return tuple(random.gauss(mean, deviation) for _ in range(count))


def test_statistics_hold_what_the_latest_answers_came_to() -> None:
    statistics = AnswerStatistics()
    for number in range(1500):
        statistics.add(Answer(1, "x", b"", 9.0, None, took_ms=float(number), gist="a" if number < 1000 else 0.5))
    for code in (codes.INTERNAL, codes.WORKER_DIED, codes.BAD_JSON):
        statistics.add(Answer(1, "x", b"", 9.0, code))
    found = statistics.summary()
    assert (found.answers, found.errors, found.failures) == (1000, 3, 2)
    assert found.p50_ms == pytest.approx(1000, abs=2)
    assert found.gists.count(0.5) == 500 and len(found.gists) == 1000


@pytest.mark.parametrize(
    "after",
    [
        GOOD,
        AnswerSummary(),
        summary(errors=5),
        summary(answers=9, errors=9),  # nine inputs may all have been bad
        summary(p50_ms=1.9),
        summary(p50_ms=100.0, answers=9),
        summary(gists=("a",) * 90 + ("b",) * 10),
        summary(gists=("c",) * 49),
    ],
)
def test_what_is_no_worse_than_stated_stays(after: AnswerSummary) -> None:
    assert worse(GOOD, after, BOUNDS) is None


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (summary(errors=20), "20 of 100 answers are errors, before it were 0 of 100; allowed is 5.0%"),
        (summary(answers=10, errors=10), "10 of 10 answers are errors"),
        (summary(answers=1, errors=1, failures=1), "1 of 1 answers are errors"),  # no input is to blame for that
        (summary(p50_ms=2.5), "an answer takes 2.50 ms (median), before it took 1.00 ms; allowed is 2 times as much"),
        (summary(gists=("c",) * 50), "the answers have drifted by 0.90 from what they were before; allowed is 0.5"),
        (summary(gists=("a",) * 100), None),  # half of the answers were that before: too little for 0.5
    ],
)
def test_what_is_worse_is_said_with_the_figures(after: AnswerSummary, reason: str | None) -> None:
    found = worse(GOOD, after, BOUNDS)
    assert found is None if reason is None else reason in str(found)


def test_errors_that_there_were_before_are_no_reason() -> None:
    assert worse(summary(errors=30), summary(errors=33), BOUNDS) is None
    assert worse(summary(errors=30), summary(errors=60), BOUNDS) is not None


def test_a_model_of_microseconds_may_take_a_few_more() -> None:
    assert worse(summary(p50_ms=0.02), summary(p50_ms=0.09), BOUNDS) is None
    assert worse(summary(p50_ms=0.02), summary(p50_ms=0.29), BOUNDS) is not None


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_chance_is_no_drift(classes: int) -> None:
    """Fifty times two samples of one distribution, of few classes and of many."""
    weights = {str(number): 1.0 for number in range(classes)}
    assert max(drift(drawn(weights, 100, seed), drawn(weights, 100, 1000 + seed)) for seed in range(50)) < 0.25


def test_numbers_drift_when_their_distribution_moves() -> None:
    before = normal(0.0, 1.0, 500, 1)
    assert drift(before, normal(0.0, 1.0, 500, 2)) < 0.05
    assert drift(before, normal(3.0, 1.0, 500, 3)) > 0.7
    assert drift(before, (0.0,) * 500) > 0.35  # it answers the same whatever it is shown


def test_other_answers_than_ever_are_the_largest_drift() -> None:
    assert drift(("a",) * 1000, ("b",) * 1000) > 0.95
    assert drift(("a",) * 1000, (1.0,) * 1000) > 0.95


@pytest.mark.parametrize(
    ("count", "total", "expected"), [(0, 0, 0.0), (0, 10, 0.0), (5, 10, 0.2366), (10, 10, 0.7225), (50, 1000, 0.0381)]
)
def test_the_lower_end_of_an_interval_is_wilsons(count: int, total: int, expected: float) -> None:
    """Reference values: Newcombe 1998's method 3, computed by hand."""
    assert at_least(count, total) == pytest.approx(expected, abs=2e-4)
