"""LatencyHistogram: percentiles as precise as they say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.hub.serving.metrics import LatencyHistogram, PipelineMetrics

PRECISION = 1.13


def exact(values: list[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@given(st.lists(st.floats(0.01, 10_000), min_size=1, max_size=300))
def test_percentiles_are_within_13_percent_above_the_exact_ones(values: list[float]) -> None:
    latencies = LatencyHistogram()
    for value in values:
        latencies.add(value)
    found = latencies.take()
    assert found["count"] == len(values)
    for percent in (50, 90, 99):
        # They are written with three digits, which may round down by half a percent.
        assert exact(values, percent) * 0.995 <= found[f"p{percent}"] <= exact(values, percent) * PRECISION


@pytest.mark.parametrize(("value", "told"), [(0.0, 0.01), (-1.0, 0.01), (0.001, 0.01), (1e9, 10_000.0)])
def test_what_is_out_of_range_counts_at_its_end(value: float, told: float) -> None:
    latencies = LatencyHistogram()
    latencies.add(value)
    assert latencies.take() == {"count": 1, "p50": told, "p90": told, "p99": told}


def test_taking_starts_anew() -> None:
    latencies = LatencyHistogram()
    latencies.add(5.0)
    latencies.take()
    assert latencies.take() == {"count": 0}
    latencies.add(1.0)
    assert latencies.take()["count"] == 1


def test_one_slow_answer_in_a_hundred_shows_in_none_and_two_in_the_p99() -> None:
    latencies = LatencyHistogram()
    for value in [1.0] * 99 + [1000.0]:
        latencies.add(value)
    assert latencies.take()["p99"] < 1.2
    for value in [1.0] * 98 + [1000.0] * 2:
        latencies.add(value)
    assert latencies.take()["p99"] >= 1000


def test_counters_are_those_of_the_metrics_document() -> None:
    metrics = PipelineMetrics()
    metrics.received += 3
    metrics.errors["empty"] += 2
    assert metrics.counters() == {
        "received": 3,
        "answered": 0,
        "out_of_range": 0,
        "errors": {"empty": 2},
        "worker_restarts": 0,
        "swaps": 0,
    }


def test_taking_empties_every_bucket_and_takes_none_away() -> None:
    latencies = LatencyHistogram()
    for value, told in ((0.0, 0.01), (1e9, 10_000.0), (0.0, 0.01)):
        latencies.add(value)
        assert latencies.take() == {"count": 1, "p50": told, "p90": told, "p99": told}


def test_half_of_an_odd_number_is_more_than_the_smaller_half() -> None:
    latencies = LatencyHistogram()
    for value in [1.0] * 50 + [1000.0] * 51:
        latencies.add(value)
    assert latencies.take() == {"count": 101, "p50": 1000.0, "p90": 1000.0, "p99": 1000.0}


def test_a_new_meter_has_counted_nothing() -> None:
    meter = PipelineMetrics()
    assert meter.latencies.take() == {"count": 0}
    assert (meter.received, meter.answered, meter.out_of_range, meter.restarts, meter.swaps) == (0, 0, 0, 0, 0)
    assert meter.errors == {}


@pytest.mark.parametrize(("value", "told"), [(1.0, 1.0), (1.01, 1.12), (1.13, 1.26), (9.9, 10.0)])
def test_a_bucket_is_12_percent_wide_and_told_by_its_upper_end(value: float, told: float) -> None:
    latencies = LatencyHistogram()
    latencies.add(value)
    assert latencies.take()["p50"] == told
