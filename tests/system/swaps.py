"""A load that never pauses while workers are swapped: what is lost, doubled or late, and what memory it costs."""

import itertools
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from bench import wire

RATE = 200
"""Inputs a second, in turn with QoS 0 and QoS 1."""
_SHORTEST_CALM_S = 0.3
_AFTER_S = 0.1
"""The old workers take themselves down then: that belongs to the swap."""
_PATIENCE_S = 30.0


class Figures(msgspec.Struct, frozen=True):
    """What came of a run; latencies in milliseconds, from before the input is sent until its answer is there."""

    swaps: int
    inputs: int
    lost: int
    duplicated: int
    errors: int
    p50_calm_ms: float
    p99_calm_ms: float
    p99_swap_ms: float
    longest_ms: float
    swap_s: float
    """Median time of a swap, from the command to its success."""


class Load:
    """Publishes inputs at a steady rate to a pipeline and enters the answers; all in the caller's thread."""

    def __init__(self, port: int, payload: bytes, pipeline: str = "digits") -> None:
        self._answers = wire.Connection(port, "load", f"maas/dev/{pipeline}/out/#", 1)
        self._control = wire.Connection(port, "control", "maas/dev/cmd/restart/#", 1)
        self._topic, self._payload = f"maas/dev/{pipeline}/in/", payload
        self._request = json.dumps({"status": "init", "pipeline": pipeline}).encode()
        self._packet_ids = itertools.cycle(range(1, 1 << 16))
        self._sent: dict[int, tuple[float, bool]] = {}
        self._answered: Counter[int] = Counter()
        self._latencies: dict[bool, list[float]] = {True: [], False: []}
        self._errors = 0
        self._swapping = False
        self._due = time.perf_counter()
        self._durations: list[float] = []

    def close(self) -> None:
        self._answers.close()
        self._control.close()

    def calm(self, seconds: float | None = None) -> None:
        """Go on without a swap: for as long as the last one took, which is compared with this.

        When the machine is busy with something else swaps take longer: compared with a fixed time they would be too
        many of those.
        """
        last = self._durations[-1] if self._durations else 0.0
        end = time.perf_counter() + (seconds or max(_SHORTEST_CALM_S, last + _AFTER_S))
        while time.perf_counter() < end:
            self._turn()

    def swap(self) -> None:
        """Have the workers replaced, and go on until that is done."""
        self._swapping = True
        began = time.perf_counter()
        packet_id = next(self._packet_ids).to_bytes(2, "big")
        self._control.send(wire.publish(b"maas/dev/cmd/restart/1", self._request, packet_id))
        while (status := self._status()) != "successful":
            assert status != "failed", "the device refused to swap"
            assert time.perf_counter() - began < _PATIENCE_S, "the swap does not end"
            self._turn()
        self._durations.append(time.perf_counter() - began)
        self.calm(_AFTER_S)
        self._swapping = False

    def figures(self) -> Figures:
        """Wait for the last answers, and sum up."""
        end = time.perf_counter() + _PATIENCE_S
        while len(self._answered) < len(self._sent) and time.perf_counter() < end:
            self._enter(0.05)
        self._enter(0.3)  # what comes twice may come late
        calm, swap = sorted(self._latencies[False]), sorted(self._latencies[True])
        return Figures(
            swaps=len(self._durations),
            inputs=len(self._sent),
            lost=len(self._sent) - len(self._answered),
            duplicated=sum(count - 1 for count in self._answered.values()),
            errors=self._errors,
            p50_calm_ms=_quantile(calm, 0.5),
            p99_calm_ms=_quantile(calm, 0.99),
            p99_swap_ms=_quantile(swap, 0.99),
            longest_ms=_quantile(sorted([*calm, *swap]), 1.0),
            swap_s=round(sorted(self._durations)[len(self._durations) // 2], 3) if self._durations else 0.0,
        )

    def _turn(self) -> None:
        now = time.perf_counter()
        if now >= self._due:
            self._send()
            self._due += 1 / RATE
        self._enter(max(0.0, min(self._due - now, 1 / RATE)))

    def _send(self) -> None:
        number = len(self._sent)
        packet_id = next(self._packet_ids).to_bytes(2, "big") if number % 2 else b""
        # From when it was due, not from when there was time for it: a stall of this side is no excuse for the other.
        self._sent[number] = (time.perf_counter(), self._swapping)
        self._answers.send(wire.publish(f"{self._topic}{number}".encode(), self._payload, packet_id))

    def _enter(self, wait_s: float) -> None:
        acknowledgements = b""
        for header, body in self._answers.receive(wait_s):
            if header & 0xF0 != wire.PUBLISH:
                continue
            topic, packet_id, answer = wire.published(header, body)
            if packet_id:
                acknowledgements += wire.puback(packet_id)
            number = int(topic[topic.rfind(b"/") + 1 :])
            self._answered[number] += 1
            if self._answered[number] == 1:
                sent, swapping = self._sent[number]
                self._latencies[swapping].append((time.perf_counter() - sent) * 1000)
            self._errors += "error" in json.loads(answer)
        if acknowledgements:
            self._answers.send(acknowledgements)

    def _status(self) -> str | None:
        status: str | None = None
        acknowledgements = b""
        for header, body in self._control.receive(0):
            if header & 0xF0 == wire.PUBLISH:
                _, packet_id, document = wire.published(header, body)
                acknowledgements += wire.puback(packet_id) if packet_id else b""
                status = json.loads(document)["status"]
        if acknowledgements:
            self._control.send(acknowledgements)
        return status


def memory_of(pid: int) -> int:
    """Proportional set size of a process and all below it, in bytes: what they together take of the machine."""
    return sum(_pss(process) for process in _tree(pid))


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(process for child in children for process in _tree(int(child)))]


def _pss(pid: int) -> int:
    found: Any = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) << 10


def _quantile(ordered: list[float], fraction: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))], 3) if ordered else 0.0


def wanted_swaps(default: int) -> int:
    """``MAAS_SWAPS=1000`` is what ``make swaps`` asks for."""
    return int(os.environ.get("MAAS_SWAPS", default))
