"""One trial, in a process of its own: ``python -m maas_agent.trials.child``, a `TrialTask` in, a `TrialVerdict` out.

With a descriptor as its argument it tells the process at the other end which files it opens.

Well-formed models can still crash an interpreter or loop for ever (measured: 10-18 of 2,000 edited ones crash
LiteRT), and a driver may do anything; here that is the end of one process, and a row in a table.
"""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING

# One thread each for what is not inference, as in a worker: what is measured is what will serve.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec

from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries
from maas_agent.bundle.manifest import Manifest
from maas_agent.bundle.staged import Staged
from maas_agent.errors import BundleError, MaasError, SelfTestError, UnavailableError, UsageError
from maas_agent.host.children import die_with_parent
from maas_agent.trials.confined import hold
from maas_agent.trials.limits import available_bytes, bound_memory, peak_resident, share_device, taken
from maas_agent.trials.record import Trial
from maas_agent.trials.task import TrialTask, TrialVerdict

if TYPE_CHECKING:
    from maas_agent.bundle.golden import GoldenSamples
    from maas_agent.runtime.graph import Graph

_MOST_BYTES = 2 << 30
_INFERENCES = 50
_MEASURE_S = 2.0


def main() -> None:
    """Try, and say what came of it."""
    guard_streams()
    keep_quiet_about_libraries()
    die_with_parent()  # a model that hangs must not outlive whoever wanted to know
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=TrialTask)
    # Libraries print to standard output too: it is for the verdict alone.
    verdict_to = os.dup(1)
    os.dup2(2, 1)
    os.write(verdict_to, msgspec.json.encode(_verdict(task)))
    os.close(verdict_to)
    os._exit(0)  # the verdict is out: how a driver takes itself down is of no interest


def _verdict(task: TrialTask) -> TrialVerdict:
    cap = min(_MOST_BYTES, available_bytes())
    try:
        _bound_time(task.seconds)
        share_device(task.limits)
        return _tried(task, cap)
    except (UsageError, UnavailableError) as error:
        return _refused(task, str(error), device_fault=True)
    except MaasError as error:
        return _refused(task, str(error))
    except MemoryError:
        return _refused(task, f"it needs more than {cap >> 20} MiB of memory")
    except Exception as error:  # the edge of a process: whatever a hostile bundle provokes is a reason
        return _refused(task, f"{type(error).__name__}: {error}")


def _bound_time(seconds: float) -> None:
    """Bound what a hostile model can take.

    The alarm's default action kills even a loop inside native code, and a child whose parent died.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu = ceil(seconds) * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _tried(task: TrialTask, cap: int) -> TrialVerdict:
    # Imported here, after the limits are set: NumPy and LiteRT are native code that will read the bundle.
    from maas_agent.bundle.golden import decode_golden
    from maas_agent.runtime.graph import Graph
    from maas_agent.runtime.selection import accelerator

    setup = task.setup
    staged = _undamaged(Path(task.store), task.digest)
    hold(setup, task.limits, staged.files, before=_let_be_watched)
    chosen = accelerator(setup.accelerator, setup.options, setup.library)
    chosen.runtime()  # loads the library: what follows is the bundle's
    before = taken(setup)
    bound_memory(setup, cap)
    manifest = staged.manifest
    golden = decode_golden(staged.path(manifest.golden.blob).read_bytes(), manifest.golden.inflated)
    _check_golden(manifest, golden)
    began = time.perf_counter()
    graph = Graph(manifest, staged.path, chosen, setup.threads)
    graph.warm()  # also the stages that no golden sample asks for
    load_ms = round((time.perf_counter() - began) * 1000, 1)
    return _measured(task, graph, golden, before, load_ms)


def _measured(task: TrialTask, graph: "Graph", golden: "GoldenSamples", before: int, load_ms: float) -> TrialVerdict:
    from maas_agent.runtime.graph import deviation

    found = deviation(graph, golden.samples, golden.outputs)
    tolerance = graph.manifest.golden.tolerance
    strayed = not found <= tolerance
    times = [] if strayed else sorted(_times(lambda: graph.run(golden.samples[0])))
    needs = max(0, taken(task.setup, at_most=True) - before)
    reason = _off(found, tolerance) if strayed else _too_large(needs, task.limits.memory_bytes)
    trial = Trial(
        setup=task.setup,
        load_ms=load_ms,
        p50_ms=_quantile(times, 0.5),
        p99_ms=_quantile(times, 0.99),
        peak_bytes=peak_resident(),
        needs_bytes=needs,
        deviation=found,
        accelerated=graph.accelerated,
        refused=reason,
    )
    return TrialVerdict(trial, device_fault=not strayed and reason is not None, strayed=strayed)


def _let_be_watched() -> None:
    """If whoever has started this wants to know which files are asked for."""
    if len(sys.argv) > 1:
        from maas_agent.confinement.watching import watch

        watch(socket.socket(fileno=int(sys.argv[1])))


def _undamaged(store: Path, digest: str) -> Staged:
    """Digest before every load: what was good when it was pulled may have rotted on the card since."""
    try:
        return Staged(store, digest)
    except BundleError as error:
        raise UnavailableError(str(error)) from None


def _check_golden(manifest: Manifest, golden: "GoldenSamples") -> None:
    spec = manifest.inputs[0].decode
    if golden.samples.shape != (manifest.golden.samples, *spec.shape) or golden.samples.dtype.name != spec.dtype:
        raise SelfTestError("the golden samples are not of the number, shape and type that the manifest states")
    for output in manifest.outputs:
        values = golden.outputs.get(output.tensor.name)
        if values is None or prod(values.shape[1:]) != prod(output.tensor.shape):
            raise SelfTestError(f"the golden samples do not have the output {output.tensor.name!r}, or not its shape")


def _times(infer: Callable[[], object]) -> list[float]:
    """Milliseconds of each of a few dozen inferences; fewer if the model is slow."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _INFERENCES and time.perf_counter() - began < _MEASURE_S:
        start = time.perf_counter()
        infer()
        times.append((time.perf_counter() - start) * 1000)
    return times


def _quantile(ordered: list[float], fraction: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))], 4) if ordered else None


def _off(found: float, tolerance: float) -> str:
    return f"the golden samples deviate by {found:.4g}, allowed is {tolerance:.4g}"


def _too_large(needs: int, limit: int) -> str | None:
    if not limit or needs <= limit:
        return None
    return f"it needs {needs / (1 << 20):.1f} MiB, limits.memory_mb allows {limit >> 20}"


def _refused(task: TrialTask, reason: str, *, device_fault: bool = False) -> TrialVerdict:
    return TrialVerdict(Trial(setup=task.setup, peak_bytes=peak_resident(), refused=reason), device_fault)


if __name__ == "__main__":
    main()
