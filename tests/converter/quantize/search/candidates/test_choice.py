"""Which candidate is returned, and what is said where none can be."""

import pytest

from maas_agent.errors import UsageError
from maas_converter.quantize.search import wording
from maas_converter.quantize.search.candidates import choice
from maas_converter.quantize.search.candidates.outcome import Candidate, HeldOut, SearchLimits
from maas_converter.quantize.search.candidates.precision_plan import INT8, Change, PrecisionPlan


def _candidate(plan: PrecisionPlan, size: int, noise: float, drop: float, ratio: float = 1.0) -> Candidate:
    return Candidate(plan, plan.title, size, noise, drop, (drop - 1, drop + 1), ratio * 0.1, ratio)


def _int4(*ops: int) -> PrecisionPlan:
    return INT8.with_changes(tuple(Change(op, "int4", "gptq") for op in ops))


PLAIN = _candidate(INT8, 100_000, 0.010, 0.2)
SLOW = _candidate(_int4(1), 80_000, 0.012, 0.4, 1.3)
QUICK = _candidate(_int4(2), 90_000, 0.015, 0.5, 1.01)
COARSE = _candidate(_int4(1, 2, 3), 60_000, 0.060, 1.8, 1.5)
DYNAMIC = _candidate(PrecisionPlan("dynamic"), 95_000, 0.002, 0.0, 1.06)
FLOAT16 = _candidate(PrecisionPlan("float16"), 160_000, 0.0, 0.0, 0.5)
FLOAT32 = _candidate(PrecisionPlan("float32"), 320_000, 0.0, 0.0, 0.5)
ALL = (PLAIN, SLOW, QUICK, COARSE, DYNAMIC, FLOAT16, FLOAT32)


def test_without_a_size_budget_nothing_slower_than_int8_is_returned():
    assert choice.ranking((PLAIN, SLOW, DYNAMIC, FLOAT16), SearchLimits(1.0))[0] is PLAIN


def test_of_equally_fast_models_the_clearly_smaller_one_is_returned():
    assert choice.ranking(ALL, SearchLimits(1.0))[0] is QUICK
    hardly = _candidate(_int4(4), 98_000, 0.010, 0.2, 0.99)
    assert choice.ranking((PLAIN, hardly), SearchLimits(1.0))[0] is PLAIN


def test_a_size_that_int8_misses_buys_the_least_noise_whatever_the_time():
    assert choice.ranking(ALL, SearchLimits(1.0, 96_000))[0] is DYNAMIC
    assert choice.ranking(ALL, SearchLimits(1.0, 91_000))[0] is SLOW
    assert choice.ranking(ALL, SearchLimits(1.0, 91_000, max_latency=0.11))[0] is QUICK


def test_where_the_ends_have_to_be_integers_only_int8_models_count():
    limits = SearchLimits(1.0, 96_000, integer_io=True)
    assert choice.ranking(ALL, limits)[0] is SLOW


def test_a_float_model_is_the_last_resort_the_smaller_one_first():
    strict = SearchLimits(0.0)
    assert choice.ranking((PLAIN, SLOW, FLOAT16, FLOAT32), strict)[0] is FLOAT16


def test_a_mixed_model_that_float16_outdoes_in_everything_is_not_returned():
    mixed = _candidate(INT8.with_changes((Change(1, "float"),)), 200_000, 0.001, 0.1, 1.1)
    assert choice.ranking((mixed, FLOAT16), SearchLimits(0.15))[0] is FLOAT16


def test_what_fails_on_unseen_data_is_followed_by_int8_and_then_by_the_more_accurate():
    ranked = choice.ranking(ALL, SearchLimits(1.0))
    assert ranked[:3] == [QUICK, PLAIN, DYNAMIC]
    assert COARSE not in ranked


def test_a_point_that_is_not_exact_in_binary_is_within_its_budget():
    assert choice.keeps(45 / 4500 * 100, SearchLimits(1.0))
    assert choice.keeps(1.0000000000000002, SearchLimits(1.0))
    assert not choice.keeps(1.001, SearchLimits(1.0))


def test_the_front_has_what_no_other_model_beats_in_everything():
    beaten = _candidate(_int4(5), 90_001, 0.02, 0.6, 1.02)
    assert choice.pareto((*ALL, beaten)) == (COARSE, SLOW, QUICK, DYNAMIC, PLAIN, FLOAT16)


def test_a_refusal_names_the_nearest_model_and_the_budgets_that_would_do():
    said = wording.refusal(ALL, SearchLimits(1.0, 70_000))
    assert "--max-drop 1 and --max-size 70000" in said
    assert "of 7 models the nearest (int8, 1 op int4) has 80000 bytes, loses 0.40 points" in said
    assert "There is one with --max-drop 1.8 or --max-size 80000" in said
    hopeless = wording.refusal((SLOW, FLOAT32), SearchLimits(0.1, 70_000))
    assert "Relax two budgets" in hopeless or "--max-size 320000" in hopeless


def test_a_budget_that_one_relaxed_does_not_meet_says_so():
    assert "Relax two budgets" in wording.refusal((SLOW,), SearchLimits(0.1, 70_000))


def test_an_interval_that_reaches_over_the_budget_is_stated_as_not_proven(evaluation_of_nothing):
    wide, narrow = HeldOut(100, 0.3, (-1.0, 1.6), 2), HeldOut(100, 0.3, (-0.1, 0.7), 1)
    said = " ".join(wording.notes(wide, evaluation_of_nothing, SearchLimits(1.0), ""))
    assert "0.30 points, 95 % interval -1.00 to 1.60: not proven to be within 1" in said
    assert "these samples judged 2 candidates" in said
    assert "not proven" not in " ".join(wording.notes(narrow, evaluation_of_nothing, SearchLimits(1.0), ""))


@pytest.mark.parametrize(
    "limits", [SearchLimits(-1), SearchLimits(float("nan")), SearchLimits(1, 0), SearchLimits(1, None, 0.0)]
)
def test_a_budget_that_nothing_can_meet_is_refused(limits):
    with pytest.raises(UsageError, match="--max-"):
        limits.check()
