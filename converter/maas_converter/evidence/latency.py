"""How long one inference takes by number of threads, on this host."""

import os
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Manifest
from maas_converter.bench import measure
from maas_converter.bench.blobs import Blobs
from maas_converter.bench.measure import Timing

_MOST_THREADS = 4
"""Cores of the devices this is for; more threads than that rarely help one small model."""


class ThreadTimes(msgspec.Struct, frozen=True):
    """Latency with so many threads; ``float32`` is ``None`` where there is no float model."""

    threads: int
    float32: Timing | None
    bundle: Timing


class LatencyByThreads(msgspec.Struct, frozen=True):
    """Times of one inference, from a decoded sample to real output values, by number of threads; measured in turns."""

    host: str
    by_threads: tuple[ThreadTimes, ...]


def latencies_of(
    float32: Manifest | None, bundle: Manifest, blobs: Blobs, samples: NDArray[np.generic]
) -> LatencyByThreads:
    """Measure both on ``samples`` (N, …sample) with 1, 2, … threads, as many as this host has cores, at most 4."""
    threads = range(1, min(_cores(), _MOST_THREADS) + 1)
    manifests = [manifest for manifest in (float32, bundle) if manifest is not None]
    graphs = [measure.load_graph(manifest, blobs, count) for count in threads for manifest in manifests]
    times = measure.times_of(graphs, samples)
    pairs = [_pair(times[at : at + len(manifests)]) for at in range(0, len(times), len(manifests))]
    rows = tuple(ThreadTimes(count, *pair) for count, pair in zip(threads, pairs, strict=True))
    return LatencyByThreads(host=measure.this_host(), by_threads=rows)


def _pair(times: Sequence[Timing]) -> tuple[Timing | None, Timing]:
    return (times[0] if len(times) == 2 else None), times[-1]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        return os.cpu_count() or 1
