"""What was asked and what came back: every id exactly once, and how long it took.

Both load generators (MQTT and HTTP) keep one; what they print is its ``Measured``, as JSON.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from itertools import count, cycle

import msgspec

PAYLOAD_SIZE = 784  # bytes: a 28x28x1 image of uint8
PROBE = b"probe-"  # how the ids of readiness probes begin: a late answer to one is no fault of a run
ID_LENGTH = 14  # bytes: every id is as long, so that packets can be encoded ahead


class Measured(msgspec.Struct, frozen=True):
    """One closed-loop run of a load generator against one contender."""

    window: int  # requests outstanding at any time
    seconds: float  # wall time measured, after the warm-up
    answered: int  # answers in that time
    requests_per_s: float
    p50_us: float  # from before a request's bytes go to the kernel until its answer is parsed
    p99_us: float
    max_us: float
    generator_cpu: float  # the generator's CPU seconds per wall second; 1.0 would be a saturated core
    lost: int  # asked in the whole run, warm-up included, and never answered
    duplicates: int  # answered more than once
    errors: int  # answered with an error
    strays: int  # answers to what this run did not ask

    @property
    def exact(self) -> bool:
        """Whether every request was answered exactly once, without error."""
        return not (self.lost or self.duplicates or self.errors or self.strays)


def payloads() -> Iterator[bytes]:
    """Yield images for ever: 64 seeded ones in turn, so that no two outstanding requests are alike."""
    rng = random.Random(1)
    return cycle([rng.randbytes(PAYLOAD_SIZE) for _ in range(64)])


class Ledger:
    """The outstanding requests of a run, and the latencies of the answered ones."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(3).encode()  # tells this run's ids from a late answer to an earlier one
        self._numbers = count()
        self._sent_ns: dict[bytes, int] = {}
        self._latencies_ns: list[int] = []
        self._duplicates = self._errors = self._strays = 0
        self._began = self._began_cpu = 0.0

    @property
    def outstanding(self) -> int:
        """How many requests have no answer yet."""
        return len(self._sent_ns)

    def issue(self, now_ns: int) -> bytes:
        """Return a new id, asked at ``now_ns`` (``time.perf_counter_ns``)."""
        request_id = b"%s%08x" % (self._run, next(self._numbers))
        self._sent_ns[request_id] = now_ns
        return request_id

    def settle(self, request_id: bytes, answer: bytes, now_ns: int) -> bool:
        """Enter an answer, and return whether it settled an outstanding request."""
        sent_ns = self._sent_ns.pop(request_id, None)
        if sent_ns is None:
            self._refuse(request_id)
            return False
        self._latencies_ns.append(now_ns - sent_ns)
        if b'"error"' in answer:  # a cheap look at every answer; the exact one at the suspicious only
            self._errors += "error" in json.loads(answer)
        return True

    def _refuse(self, request_id: bytes) -> None:
        if request_id.startswith(self._run):
            self._duplicates += 1
        elif not request_id.startswith(PROBE):
            self._strays += 1

    def begin(self) -> None:
        """End the warm-up: from here on answers are measured."""
        self._latencies_ns.clear()
        self._began, self._began_cpu = time.perf_counter(), time.process_time()

    def end(self) -> tuple[float, float, list[int]]:
        """Return what the measured time came to: wall seconds, CPU seconds and sorted latencies (ns)."""
        wall_s, cpu_s = time.perf_counter() - self._began, time.process_time() - self._began_cpu
        return wall_s, cpu_s, sorted(self._latencies_ns)

    def close(self, window: int, wall_s: float, cpu_s: float, latencies_ns: list[int]) -> Measured:
        """Sum up, once late answers have had their time: what is outstanding now is lost."""
        answered = len(latencies_ns)
        return Measured(
            window=window,
            seconds=round(wall_s, 3),
            answered=answered,
            requests_per_s=round(answered / wall_s, 1),
            p50_us=_percentile_us(latencies_ns, 0.50),
            p99_us=_percentile_us(latencies_ns, 0.99),
            max_us=_percentile_us(latencies_ns, 1.0),
            generator_cpu=round(cpu_s / wall_s, 3),
            lost=len(self._sent_ns),
            duplicates=self._duplicates,
            errors=self._errors,
            strays=self._strays,
        )


def _percentile_us(sorted_ns: list[int], share: float) -> float:
    """Return the nearest-rank percentile in microseconds; 0 of nothing, which ``lost`` explains."""
    if not sorted_ns:
        return 0.0
    return round(sorted_ns[min(int(share * len(sorted_ns)), len(sorted_ns) - 1)] / 1000, 1)
