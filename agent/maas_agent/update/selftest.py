"""The self-test: does this device reproduce the golden samples? In a child process, because the model is not trusted.

``python -m maas_agent.update.selftest STORE DIGEST ACCELERATOR SECONDS`` prints one JSON line: a `Measured`, or a
`Complaint`. `run` starts it. Well-formed models can still crash LiteRT or loop for ever (measured: 10-18 of
2,000 edited ones crash it); here that is a reason in a sentence, and the puller goes on.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from maas_agent.bundle.manifest import Manifest, decode_manifest
from maas_agent.errors import MaasError, PullError, SelfTestError, UnavailableError, UsageError
from maas_agent.update.protocol import SELF_TEST_S
from maas_agent.update.store import Store

if TYPE_CHECKING:
    from maas_agent.bundle.golden import GoldenSamples

_ADDRESS_SPACE = 4 << 30
_INFERENCES = 50
_MEASURE_S = 2.0


class Measured(msgspec.Struct, frozen=True, tag_field="result", tag="passed"):
    """Times of one inference in milliseconds, and the largest deviation in the outputs' real units."""

    p50_ms: float
    p99_ms: float
    deviation: float


class Complaint(msgspec.Struct, frozen=True, tag_field="result", tag="failed"):
    """Why it failed; ``device`` if that is the device's fault (no such accelerator, no interpreter, a rotten file)."""

    reason: str
    device: bool = False


def run(store: Path, digest: str, accelerator: str, seconds: float = SELF_TEST_S) -> Measured:
    """Test a staged bundle in a child process.

    Raises `SelfTestError` if it fails, crashes or does not end; `UnavailableError` if the device cannot test at all.
    """
    command = [sys.executable, "-m", "maas_agent.update.selftest", str(store), digest, accelerator, f"{seconds:g}"]
    try:
        child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds + 2)
    except subprocess.TimeoutExpired:
        raise SelfTestError(_ENDLESS.format(seconds)) from None
    return judged(child.returncode, child.stdout, child.stderr, seconds)


def judged(status: int, said: bytes, complained: bytes, seconds: float) -> Measured:
    """What a child's exit status and output mean; raises like `run`."""
    if status in (-signal.SIGALRM, -signal.SIGXCPU):
        raise SelfTestError(_ENDLESS.format(seconds))
    if status < 0:
        raise SelfTestError(f"the self-test was killed by {_signal_name(-status)}: the model crashes this device")
    try:
        # The last line: a library may print to standard output too.
        verdict = msgspec.json.decode(said.rsplit(b"\n", 2)[-2], type=Measured | Complaint)
    except (IndexError, msgspec.DecodeError):
        last = complained.decode(errors="replace").strip().rpartition("\n")[2]
        raise SelfTestError(f"the self-test ended with status {status} and no result: {last or 'no message'}") from None
    if isinstance(verdict, Complaint):
        raise (UnavailableError if verdict.device else SelfTestError)(verdict.reason)
    return verdict


_ENDLESS = "the self-test did not end within {:g} s: the model hangs or is far too slow for this device"


def main(arguments: list[str]) -> None:
    """The child process."""
    store, digest, accelerator, seconds = Path(arguments[0]), arguments[1], arguments[2], float(arguments[3])
    _limit(seconds)
    try:
        answer: Measured | Complaint = _measure(Store(store), digest, accelerator)
    except (UsageError, UnavailableError, PullError) as error:
        answer = Complaint(str(error), device=True)
    except MaasError as error:
        answer = Complaint(str(error))
    except MemoryError:
        answer = Complaint(f"the bundle needs more than {_ADDRESS_SPACE >> 30} GiB of memory")
    except Exception as error:  # the edge of a process: whatever a hostile bundle provokes is a reason
        answer = Complaint(f"{type(error).__name__}: {error}")
    os.write(1, b"\n" + msgspec.json.encode(answer) + b"\n")


def _limit(seconds: float) -> None:
    """Bound what a hostile model can take.

    The alarm's default action kills even a loop inside native code, and a child whose puller died.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    cpu = ceil(seconds) * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _measure(store: Store, digest: str, accelerator: str) -> Measured:
    # Imported here, after the limits are set: NumPy and LiteRT are native code that will read the bundle.
    from maas_agent.bundle.golden import decode_golden
    from maas_agent.runtime import selection
    from maas_agent.runtime.graph import Graph, deviation

    chosen = selection.accelerator(accelerator)
    manifest = decode_manifest(store.read(digest))
    golden = decode_golden(store.read(manifest.golden.blob))
    _check_golden(manifest, golden)
    # Digest before every load: what was good when it was pulled may have rotted on the card since.
    for stage in manifest.stages:
        if not store.has(stage.blob, stage.size):
            raise PullError(f"stage {stage.name!r} is damaged in the store")
    graph = Graph(manifest, store.blob_path, chosen)
    graph.warm()  # also the stages that no golden sample asks for
    found = deviation(graph, golden.samples, golden.outputs)
    if not found <= manifest.golden.tolerance:
        raise SelfTestError(f"the golden samples deviate by {found:.4g}, allowed is {manifest.golden.tolerance:.4g}")
    times = sorted(_times(lambda: graph.run(golden.samples[0])))
    return Measured(_quantile(times, 0.5), _quantile(times, 0.99), found)


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


def _quantile(ordered: list[float], fraction: float) -> float:
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal has no name


if __name__ == "__main__":
    main(sys.argv[1:])
