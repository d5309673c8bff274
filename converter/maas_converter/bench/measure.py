"""What a bundle answers on real samples, how often it is right, and how long it takes: measured on its own files.

Everything runs through `maas_agent.runtime.graph.Graph`, the class that serves on a device, one sample at a time.
"""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Accuracy, Manifest, Tensor
from maas_agent.errors import DataError
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import Progress
from maas_converter.base.statistics import paired_drop_points
from maas_converter.bench.blobs import Blobs

THREADS = 1
"""Threads of every measurement: the figure that adds up when a device runs several pipelines."""

_LATENCY_RUNS = 300
_LATENCY_S = 3.0
_TURN_RUNS = 20

Answers = dict[str, NDArray[np.float32]]
"""By output tensor: real values (N, …output)."""


class Timing(msgspec.Struct, frozen=True):
    """Time from a decoded sample to real output values, in milliseconds, on this machine."""

    p50_ms: float
    p99_ms: float


def load_graph(manifest: Manifest, blobs: Blobs, threads: int = THREADS) -> Graph:
    """A bundle ready to run on this machine's processor; raises `RuntimeFailure`."""
    return Graph(manifest, blobs.path, accelerator("cpu"), threads)


def answers(graph: Graph, samples: NDArray[np.generic], progress: Progress, what: str) -> Answers:
    """Run every sample (N, …sample).

    Where a sample leaves an output out (the stage that makes it was skipped), its row is NaN; `answered` tells which.
    Raises `DataError` if an answer that was given is not finite: such a model is broken, whatever its file says.
    """
    rows = [graph.run(sample) for sample in progress.track(what, samples)]
    return {
        output.tensor.name: _gathered([row.get(output.tensor.name) for row in rows], output.tensor, what)
        for output in graph.manifest.outputs
    }


def answered(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which samples (N,) the output with the real ``values`` (N, …) was made for."""
    return np.logical_not(np.isnan(values.reshape(len(values), -1)).any(axis=1))


def top_classes(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class (N,) with the highest value in each row of (N, …); among equals the lower one, as on a device."""
    found: NDArray[np.int64] = np.argmax(values.reshape(len(values), -1), axis=1).astype(np.int64)
    return found


def compare(float32: NDArray[np.int64], bundle: NDArray[np.int64], y: NDArray[np.int64]) -> Accuracy:
    """Paired accuracy of the float model and the bundle: the classes each found (N,) and the true ones (N,)."""
    drop, interval = paired_drop_points(float32 == y, bundle == y)
    return Accuracy(
        samples=len(y),
        float32=float(np.mean(float32 == y)),
        bundle=float(np.mean(bundle == y)),
        drop_points=drop,
        interval_points=interval,
    )


def times_of(graphs: Sequence[Graph], samples: NDArray[np.generic]) -> list[Timing]:
    """Latency of single inferences of each graph, over up to 300 runs or 3 s each, cycling through ``samples``.

    The graphs take turns, so that whatever else this machine does slows all of them alike; turns are of several
    runs, so that each finds its own weights in the caches as it would alone.
    """
    taken: list[list[float]] = [[] for _ in graphs]
    end = time.monotonic() + _LATENCY_S * len(graphs)
    while len(taken[0]) < _LATENCY_RUNS and (not taken[0] or time.monotonic() < end):
        for graph, times in zip(graphs, taken, strict=True):
            times.extend(_turn(graph, samples, len(times)))
    quantiles = [np.percentile(times, [50, 99]) for times in taken]
    return [Timing(p50_ms=round(float(p50), 4), p99_ms=round(float(p99), 4)) for p50, p99 in quantiles]


def _gathered(rows: list[NDArray[np.float32] | None], tensor: Tensor, what: str) -> NDArray[np.float32]:
    given = [row for row in rows if row is not None]
    if not all(np.isfinite(row).all() for row in given):
        raise DataError(f"{what}: the model's output {tensor.name!r} is NaN or infinite on a sample")
    absent = np.full(given[0].shape if given else tensor.shape, np.nan, np.float32)
    return np.stack([absent if row is None else row for row in rows])


def _turn(graph: Graph, samples: NDArray[np.generic], first: int) -> list[float]:
    """Milliseconds of a few runs; one before them, not counted, brings the graph back into the caches."""
    graph.run(samples[first % len(samples)])
    taken = []
    for run in range(first, first + _TURN_RUNS):
        sample = samples[run % len(samples)]
        begin = time.perf_counter()
        graph.run(sample)
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def this_host() -> str:
    """The processor latencies are measured on; no host name, for manifests are published."""
    model = platform.processor() or "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):  # x86; Raspberry Pi
                model = value.strip()
                break
    except OSError:
        pass  # no Linux
    return f"{model} ({platform.machine()})"
