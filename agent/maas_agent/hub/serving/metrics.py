"""Counts what one pipeline does, and how long it takes, cheaply enough to do so for every answer."""

import math
from collections import Counter
from typing import Any

_BUCKETS_A_DECADE = 20
_LOWEST_MS = 0.01
_COUNT = 6 * _BUCKETS_A_DECADE
"""Buckets from 0.01 ms to 10 s, each 12 % wider than the one before: percentiles are that precise."""


class LatencyHistogram:
    """Counts milliseconds in a histogram, from one reading of it to the next."""

    def __init__(self) -> None:
        self._buckets = [0] * (_COUNT + 1)

    def add(self, milliseconds: float) -> None:
        """Count one."""
        if milliseconds <= _LOWEST_MS:
            index = 0
        else:
            index = min(_COUNT, math.ceil(math.log10(milliseconds / _LOWEST_MS) * _BUCKETS_A_DECADE))
        self._buckets[index] += 1

    def take(self) -> dict[str, Any]:
        """Number, p50, p90 and p99 (upper ends of their buckets, in ms) since the last call, and start anew."""
        buckets, self._buckets = self._buckets, [0] * (_COUNT + 1)
        total = sum(buckets)
        if not total:
            return {"count": 0}
        return {"count": total} | {f"p{p}": _percentile(buckets, total * p / 100) for p in (50, 90, 99)}


class PipelineMetrics:
    """Counts what one pipeline has done since the hub started."""

    def __init__(self) -> None:
        self.received = 0
        self.answered = 0
        self.out_of_range = 0
        self.restarts = 0
        self.swaps = 0
        self.errors: Counter[str] = Counter()
        self.latencies = LatencyHistogram()

    def counters(self) -> dict[str, Any]:
        """The counters, JSON-ready."""
        return {
            "received": self.received,
            "answered": self.answered,
            "out_of_range": self.out_of_range,
            "errors": dict(self.errors),
            "worker_restarts": self.restarts,
            "swaps": self.swaps,
        }


def _percentile(buckets: list[int], rank: float) -> float:
    seen = 0
    for index, count in enumerate(buckets):
        seen += count
        if seen >= rank and count:
            return float(f"{_LOWEST_MS * 10 ** (index / _BUCKETS_A_DECADE):.3g}")
    return 0.0
