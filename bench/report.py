"""From samples to what is quoted: medians of rounds, ratios within a round, bars; as a table and as JSON.

Everything here is arithmetic on values; nothing measures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from itertools import product

import msgspec

from bench.serving import Sample

MIN_THROUGHPUT_RATIO = 1.3  # of the agent to (a)
MAX_EXTRA_P50_US = 150.0  # of the agent over (a)
MAX_HUB_MB = 30.0
MAX_WORKER_OVER_BARE_MB = 15.0
AGENT, OBVIOUS, CEILING = "agent", "obvious", "ceiling"


class Spread(msgspec.Struct, frozen=True):
    """A figure over the rounds."""

    median: float
    low: float
    high: float


class Row(msgspec.Struct, frozen=True):
    """One contender at one QoS (None: HTTP)."""

    contender: str
    qos: int | None
    rounds: int
    requests_per_s: Spread  # with 64 outstanding
    p50_us: Spread  # with one outstanding
    p99_us: Spread
    peak_mb: dict[str, Spread]  # by role of the process
    generator_cpu_64: Spread  # the load generator's CPU seconds per second, with 64 outstanding
    generator_cpu_1: Spread


class Ratio(msgspec.Struct, frozen=True):
    """One contender against another, paired: taken within each round, then over the rounds."""

    subject: str
    reference: str
    qos: int  # of the MQTT contenders; an HTTP one is the same in both
    throughput: Spread  # the subject's requests/s over the reference's
    p50_difference_us: Spread  # the subject's p50 less the reference's


class Bare(msgspec.Struct, frozen=True):
    """The bare interpreter."""

    peak_mb: Spread
    invoke_us: Spread


class Bar(msgspec.Struct, frozen=True):
    """One figure to reach; ``met`` is None where the agent was not measured."""

    figure: str
    value: float | None
    bar: str
    met: bool | None


class Report(msgspec.Struct, frozen=True):
    """All that a run prints."""

    machine: dict[str, str]
    seconds: float  # of each measurement
    rows: list[Row]
    ratios: list[Ratio]
    bare: Bare
    bars: list[Bar]
    failures: list[str]  # contenders that did not start, answers lost or duplicated
    samples: list[Sample]


def spread(values: Iterable[float]) -> Spread:
    """Return median, minimum and maximum, to four decimals."""
    ordered = sorted(values)
    return Spread(*(round(v, 4) for v in (statistics.median(ordered), ordered[0], ordered[-1])))


def rows(samples: list[Sample]) -> list[Row]:
    """Return one row per contender and QoS, in the order of their first sample."""
    keys = dict.fromkeys((sample.contender, sample.qos) for sample in samples)
    ordered = sorted(keys, key=lambda key: (key[1] is None, key[1] or 0))
    return [_row([s for s in samples if (s.contender, s.qos) == key]) for key in ordered]


def _row(samples: list[Sample]) -> Row:
    roles = dict.fromkeys(role for sample in samples for role in sample.peak_mb)
    return Row(
        contender=samples[0].contender,
        qos=samples[0].qos,
        rounds=len(samples),
        requests_per_s=spread(s.saturated.requests_per_s for s in samples),
        p50_us=spread(s.single.p50_us for s in samples),
        p99_us=spread(s.single.p99_us for s in samples),
        peak_mb={role: spread(s.peak_mb[role] for s in samples if role in s.peak_mb) for role in roles},
        generator_cpu_64=spread(s.saturated.generator_cpu for s in samples),
        generator_cpu_1=spread(s.single.generator_cpu for s in samples),
    )


def inexact(sample: Sample) -> int:
    """Return how many requests of a sample were lost, answered twice or with an error, or never asked."""
    runs = (sample.saturated, sample.single)
    return sum(run.lost + run.duplicates + run.errors + run.strays for run in runs)


def ratios(samples: list[Sample]) -> list[Ratio]:
    """Return, at every QoS, the agent against every peer, and every other contender against (a)."""
    found: list[Ratio] = []
    for qos in sorted({sample.qos for sample in samples if sample.qos is not None}):
        here = [sample for sample in samples if sample.qos in (qos, None)]
        names = list(dict.fromkeys(sample.contender for sample in here))
        for subject, reference in product(names, names):
            wanted = subject == AGENT or reference == OBVIOUS
            if wanted and subject != reference and CEILING not in (subject, reference):
                found += _ratio(here, subject, reference, qos)
    return found


def _ratio(samples: list[Sample], subject: str, reference: str, qos: int) -> list[Ratio]:
    """Return one ratio; none where no round measured both."""
    of, to = ({s.round: s for s in samples if s.contender == name} for name in (subject, reference))
    pairs = [(of[round_], to[round_]) for round_ in of if round_ in to]
    if not pairs or not all(b.saturated.requests_per_s for _, b in pairs):
        return []
    throughput = spread(a.saturated.requests_per_s / b.saturated.requests_per_s for a, b in pairs)
    difference = spread(a.single.p50_us - b.single.p50_us for a, b in pairs)
    return [Ratio(subject, reference, qos, throughput, difference)]


def bars(measured: list[Row], paired: list[Ratio], bare: Bare) -> list[Bar]:
    """Return what there is to reach, and whether it was."""
    found: list[Bar] = []
    for ratio in paired:
        if (ratio.subject, ratio.reference) == (AGENT, OBVIOUS):
            at = f"QoS {ratio.qos}"
            found += (
                _at_least(f"requests/s over (a), {at}", ratio.throughput.median, MIN_THROUGHPUT_RATIO),
                _at_most(f"p50 less (a)'s, us, {at}", ratio.p50_difference_us.median, MAX_EXTRA_P50_US),
            )
    if not found:
        found = [
            _at_least("requests/s over (a)", None, MIN_THROUGHPUT_RATIO),
            _at_most("p50 less (a)'s, us", None, MAX_EXTRA_P50_US),
        ]
    worker = _peak(measured, "worker")
    over_bare = None if worker is None else worker - bare.peak_mb.median
    found.append(_at_most("hub, peak MB", _peak(measured, "hub"), MAX_HUB_MB))
    found.append(_at_most("worker less bare interpreter, peak MB", over_bare, MAX_WORKER_OVER_BARE_MB))
    return found


def _peak(measured: list[Row], role: str) -> float | None:
    """Return the agent's peak in a role: the larger of its QoS's medians, None where not measured."""
    peaks = [row.peak_mb[role].median for row in measured if row.contender == AGENT and role in row.peak_mb]
    return max(peaks, default=None)


def _at_least(figure: str, value: float | None, bar: float) -> Bar:
    return _bar(figure, value, f">= {bar:g}", lambda reached: reached >= bar)


def _at_most(figure: str, value: float | None, bar: float) -> Bar:
    return _bar(figure, value, f"<= {bar:g}", lambda reached: reached <= bar)


def _bar(figure: str, value: float | None, bar: str, met: Callable[[float], bool]) -> Bar:
    return Bar(figure, None, bar, None) if value is None else Bar(figure, round(value, 3), bar, met(value))
