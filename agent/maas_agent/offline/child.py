"""``python -m maas_agent.offline.child FD``: runs a bundle that somebody gave by hand, in a process of its own.

It may crash the interpreter, or loop for ever: here that is the end of one process, and a sentence.
"""

import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# One thread each for what is not inference, as in a worker.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec

from maas_agent.base import codes
from maas_agent.base.terminal import keep_quiet_about_libraries
from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.golden import decode_golden
from maas_agent.bundle.manifest import Manifest, Raw
from maas_agent.errors import DataError, MaasError, NoInputError
from maas_agent.host.children import die_with_parent
from maas_agent.ipc import InferenceRequest
from maas_agent.offline.messages import (
    BAD_DATA,
    NO_INPUT,
    Doing,
    FileAnswered,
    InferTask,
    Message,
    Mistake,
    RunFailed,
    Warned,
)
from maas_agent.offline.samples import STANDARD_INPUT, FileSample, inputs
from maas_agent.processing.preprocess import reach_of
from maas_agent.runtime.graph import Graph, deviation
from maas_agent.runtime.selection import accelerator
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.confined import hold
from maas_agent.trials.limits import available_bytes, bound_memory
from maas_agent.worker.engine import Engine

_MOST_BYTES = 4 << 30


class Outside:
    """Counts samples whose values the model's input does not hold."""

    def __init__(self) -> None:
        self.samples = 0
        self.first = ""

    def add(self, name: str, samples: int) -> None:
        """Count those of the file called ``name``."""
        self.samples += samples
        self.first = self.first or (name if samples else "")


def main() -> None:
    """Serve one task."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler waits for native code to return
    die_with_parent()
    keep_quiet_about_libraries()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(2, 1)  # libraries print to standard output too: it is for the answers alone
    parent = socket.socket(fileno=int(sys.argv[1]))
    with parent.makefile("rb") as lines:
        task = msgspec.json.decode(lines.readline(), type=InferTask)
    _serve(task, lambda message: parent.sendall(msgspec.json.encode(message) + b"\n"))
    os._exit(0)


def _serve(task: InferTask, tell: Callable[[Message], None]) -> None:
    cap = min(_MOST_BYTES, available_bytes())
    try:
        engine, manifest = _loaded(task, cap, tell)
        outside = Outside()
        for name in task.files:
            tell(Doing(f"it answered {name}"))
            for answer in _answers(engine, manifest, name, cap, outside):
                tell(answer)
        if outside.samples:
            tell(Warned(_told_of(outside, manifest)))
        os._exit(0)  # all is said, and the engine still there: how a driver takes itself down is of no interest
    except MaasError as error:
        tell(RunFailed(error.exit_code, str(error)))
    except MemoryError:
        tell(RunFailed(70, f"{task.bundle} needs more than {cap >> 20} MiB of memory"))
    except BrokenPipeError:
        pass  # nobody listens any more
    except Exception as error:  # the edge of a process: whatever a hostile bundle provokes is a reason
        tell(RunFailed(70, f"{task.bundle}: {type(error).__name__}: {error}"))


def _loaded(task: InferTask, cap: int, tell: Callable[[Message], None]) -> tuple[Engine, Manifest]:
    setup, scratch = task.setup, Path(task.scratch)
    tell(Doing(f"the libraries for {setup.accelerator} were loaded"))
    with open_bundle(Path(task.bundle)) as bundle:
        for digest in bundle.manifest.blobs():
            (scratch / digest).write_bytes(bundle.blob(digest))
    hold(setup, task.limits, [scratch, *(Path(name) for name in task.files if name != STANDARD_INPUT)])
    chosen = accelerator(setup.accelerator, setup.options, setup.library)
    chosen.runtime()
    bound_memory(setup, cap)  # what follows is the bundle's
    tell(Doing("it was loaded"))
    graph = Graph(bundle.manifest, lambda digest: scratch / digest, chosen, setup.threads)
    tell(Doing("it ran for the first time"))
    graph.warm()
    if setup.accelerator != CPU and (reason := _strays(graph, setup, scratch)):
        tell(Warned(reason))
    return Engine(graph, device="-", pipeline="-", form=None), bundle.manifest


def _strays(graph: Graph, setup: Setup, scratch: Path) -> str | None:
    """Why not to trust this accelerator with this bundle: a device would refuse it, and here a person should know."""
    golden = graph.manifest.golden
    samples = decode_golden((scratch / golden.blob).read_bytes(), golden.inflated)
    found = deviation(graph, samples.samples, samples.outputs)
    if found <= golden.tolerance:
        return None
    return (
        f"on {setup} the golden samples deviate by {found:.4g}, allowed is {golden.tolerance:.4g}: "
        "a device would not serve with it, and the answers are not to be trusted"
    )


def _told_of(outside: Outside, manifest: Manifest) -> str:
    tensor = manifest.inputs[0].tensor
    low, high = reach_of(tensor) or (0.0, 0.0)
    which = "1 sample holds" if outside.samples == 1 else f"{outside.samples} samples hold"
    return (
        f"{which} values outside the range of the model's input, {low:.4g}…{high:.4g}, first in {outside.first}: they "
        "are clipped, and the answer is to that. See whether samples have the scale that the bundle was made for"
    )


def _answers(engine: Engine, manifest: Manifest, name: str, cap: int, outside: Outside) -> Iterator[FileAnswered]:
    try:
        for found in inputs(name, manifest.inputs[0].decode, _labels(manifest)):
            yield _answer(engine, name, found, outside)
    except NoInputError as error:
        yield FileAnswered(name, error=Mistake(NO_INPUT, str(error)))
    except DataError as error:
        yield FileAnswered(name, error=Mistake(BAD_DATA, str(error)))
    except MemoryError:
        yield FileAnswered(name, error=Mistake(codes.TOO_LARGE, f"{name} needs more than {cap >> 20} MiB of memory"))


def _answer(engine: Engine, name: str, found: FileSample, outside: Outside) -> FileAnswered:
    request = InferenceRequest(
        1, name, found.payload, found.content_type, arrived=time.time(), arrived_at=time.monotonic()
    )
    answer = engine.answer(request)
    outside.add(name, answer.outside)
    document = json.loads(answer.document)
    if "outputs" in document:
        return FileAnswered(name, found.row, found.given, response=document)
    known = {key: document[key] for key in ("model", "version", "latency_ms", "result") if key in document}
    error = Mistake(**document["error"]) if "error" in document else None
    return FileAnswered(name, found.row, found.given, error=error, **known)


def _labels(manifest: Manifest) -> tuple[str, ...]:
    """What class numbers in a data file mean, if the bundle has one output that says so."""
    if len(manifest.outputs) == 1 and not isinstance(manifest.outputs[0].postprocess, Raw):
        return manifest.outputs[0].labels
    return ()


if __name__ == "__main__":
    main()
