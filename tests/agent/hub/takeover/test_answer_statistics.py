"""Whether one bundle's answers are worse than another's."""

from math import pi, sqrt
from random import Random

import pytest

from maas_agent.base import codes
from maas_agent.config import UpdateSettings
from maas_agent.hub.takeover.answer_statistics import (
    AnswerStatistics,
    AnswerSummary,
    Gist,
    at_least,
    drift,
    is_slower,
    median,
    worse,
)
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


def test_before_any_answer_there_is_nothing_to_tell() -> None:
    assert AnswerStatistics().summary() == AnswerSummary(answers=0, errors=0, failures=0, p50_ms=0.0, gists=())


def test_a_thousand_answers_are_remembered_and_an_error_is_not_timed() -> None:
    tally = AnswerStatistics()
    for number in range(1001):
        tally.add(Answer(1, "x", b"", 9.0, None, took_ms=float(number), gist=float(number)))
    tally.add(Answer(1, "x", b"", 9.0, codes.EMPTY, took_ms=5e6, gist="none"))
    tally.add(Answer(1, "x", b"", 9.0, None, took_ms=5e6))
    found = tally.summary()
    assert (found.answers, found.errors, found.failures) == (1000, 1, 0)
    assert found.gists == tuple(float(number) for number in range(1, 1001))
    assert found.p50_ms == 502.0  # of 2 to 1000, and the last one


@pytest.mark.parametrize(
    ("values", "middle"), [([], 0.0), ([3.0], 3.0), ([1.0, 9.0, 2.0], 2.0), ([4.0, 1.0, 3.0, 2.0], 3.0)]
)
def test_the_median_is_the_upper_one_of_two(values: list[float], middle: float) -> None:
    assert median(values) == middle


def test_without_answers_before_errors_are_held_against_none() -> None:
    assert worse(AnswerSummary(), summary(errors=20), BOUNDS) == (
        "20 of 100 answers are errors, before it were 0 of 0; allowed is 5.0%"
    )


def test_what_is_exactly_as_bad_as_allowed_stays() -> None:
    errors, drifted = summary(errors=20), summary(gists=("c",) * 50)
    assert worse(GOOD, errors, UpdateSettings(max_error_rate=at_least(20, 100))) is None
    assert worse(GOOD, errors, UpdateSettings(max_error_rate=at_least(20, 100) - 1e-9)) is not None
    moved = drift(GOOD.gists, drifted.gists)
    assert worse(GOOD, drifted, UpdateSettings(max_drift=moved)) is None
    assert worse(GOOD, drifted, UpdateSettings(max_drift=moved - 1e-9)) is not None


def test_nine_errors_of_ten_answers_say_something_and_of_nine_nothing() -> None:
    assert worse(GOOD, summary(answers=9, errors=9), BOUNDS) is None
    assert worse(GOOD, summary(answers=10, errors=9), BOUNDS) == (
        "9 of 10 answers are errors, before it were 0 of 100; allowed is 5.0%"
    )


@pytest.mark.parametrize(
    ("before", "after", "slower"),
    [
        (summary(), summary(p50_ms=2.0), False),  # exactly twice as long
        (summary(), summary(p50_ms=2.001), True),
        (summary(answers=10), summary(answers=10, p50_ms=9.0), True),
        (summary(answers=9), summary(p50_ms=9.0), False),
        (summary(), summary(answers=9, p50_ms=9.0), False),
        (summary(answers=12, errors=3), summary(p50_ms=9.0), False),  # errors were not timed
        (summary(), summary(answers=12, errors=3, p50_ms=9.0), False),
        (summary(p50_ms=0.0), summary(p50_ms=0.2), False),
        (summary(p50_ms=0.0), summary(p50_ms=0.201), True),
        (summary(p50_ms=0.15), summary(p50_ms=0.34), False),
    ],
)
def test_slower_is_a_median_above_the_ratio_of_ten_answers_and_by_more_than_noise(
    before: AnswerSummary, after: AnswerSummary, slower: bool
) -> None:
    assert is_slower(before, after, 2.0) is slower


def test_drift_of_labels_is_the_total_variation_less_what_chance_explains() -> None:
    """By hand: each label is half of all, so chance is twice sqrt(0.25 (1/50 + 1/50) / (2 pi))."""
    assert drift(("a",) * 50, ("b",) * 50) == pytest.approx(1 - 2 * sqrt(0.01 / (2 * pi)))
    assert drift(("a",) * 50, ("b",) * 49) == drift(("a",) * 49, ("b",) * 50) == 0.0
    assert drift(("a",) * 75 + ("b",) * 25, ("a",) * 25 + ("b",) * 25) == pytest.approx(
        0.25 - 2 * sqrt(2 / 9 * (1 / 100 + 1 / 50) / (2 * pi))
    )
    assert drift(("a", "b") * 50, ("a", "b") * 50) == 0.0


def test_drift_of_numbers_is_the_statistic_of_smirnov_less_what_chance_explains() -> None:
    """By hand: 1.36 sqrt((n + m) / (n m)) is what two samples of one distribution exceed once in twenty times."""
    low, high = tuple(float(number) for number in range(50)), tuple(float(number) for number in range(100, 200))
    assert drift(low, high) == pytest.approx(1 - 1.36 * sqrt(150 / 5000))
    assert drift(high, low) == pytest.approx(1 - 1.36 * sqrt(150 / 5000))
    half = tuple(float(number) for number in range(25)) + tuple(float(number) for number in range(500, 525))
    assert drift(low, half) == pytest.approx(0.5 - 1.36 * sqrt(100 / 2500))
    assert drift((1.0,) * 100, (1.0,) * 100) == 0.0


def test_a_bundle_that_has_not_answered_yet_has_no_figures() -> None:
    nothing = AnswerSummary()
    assert (nothing.answers, nothing.errors, nothing.failures, nothing.p50_ms, nothing.gists) == (0, 0, 0, 0.0, ())
