"""Trials by the thousand: the very code of a trial's process, in forks of one that has loaded the libraries already.

``python -m tests.forks`` reads a `Request` a line and answers with an `Ended` a line. What crashes, hangs or takes all
memory is one fork; starting Python and NumPy anew for each would take a quarter of a second more.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from maas_agent.trials.task import Task, Verdict

ROOT = Path(__file__).parents[1]
_GRACE_S = 5.0


class Request(msgspec.Struct):
    """Try ``task``; if it passes, also answer these samples (flat, as decoded), in another fork."""

    task: Task
    samples: list[list[int]] = []


class Ended(msgspec.Struct):
    """The trial's verdict, or the signal that ended it; then the answers, or the signal that ended those."""

    verdict: Verdict | None = None
    signal: int = 0
    answers: list[list[float]] | None = None
    answers_signal: int = 0


class Forks:
    """The process that forks, as a context; `end` is what a mutant must never be able to do to it."""

    def __enter__(self) -> "Forks":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'agent'}"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, request: Request) -> Ended:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "a mutant has taken down the process that forks"
        return msgspec.json.decode(line, type=Ended)


def main() -> None:
    from maas_agent.runtime.library import interpreter_module

    first = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
    interpreter_module(first.task.setup.library)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for request in _requests(first):
        ended = Ended()
        ended.signal, said = _forked(lambda request=request: _verdict(request.task), request.task.seconds)  # type: ignore[misc]
        if not ended.signal:
            ended.verdict = msgspec.json.decode(said, type=Verdict)
            if ended.verdict.trial.refused is None and request.samples:
                ended.answers_signal, said = _forked(lambda request=request: _answers(request), request.task.seconds)  # type: ignore[misc]
                ended.answers = None if ended.answers_signal else json.loads(said)
        replies.write(msgspec.json.encode(ended) + b"\n")
        replies.flush()


def _requests(first: Request):  # type: ignore[no-untyped-def]
    yield first
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=Request)


def _forked(work, seconds: float) -> tuple[int, bytes]:  # type: ignore[no-untyped-def]
    """The signal that ended a fork of this process, 0 if none did, and what it returned."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, work())
        os._exit(0)
    os.close(write)
    said, deadline = b"", time.monotonic() + seconds + _GRACE_S
    while select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(read, 1 << 16)
        if not chunk:
            break
        said += chunk
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), said


def _verdict(task: Task) -> bytes:
    from maas_agent.trials import child

    return msgspec.json.encode(child._verdict(task))


def _answers(request: Request) -> bytes:
    """What would be served: the real values of the first output, for each sample."""
    from maas_agent.bundle.staged import blob_path, staged_manifest
    from maas_agent.runtime.graph import Graph
    from maas_agent.runtime.selection import accelerator

    task = request.task
    signal.setitimer(signal.ITIMER_REAL, task.seconds)
    store = Path(task.store)
    manifest = staged_manifest(store, task.digest)
    cpu = accelerator(task.setup.accelerator, task.setup.options, task.setup.library)
    graph = Graph(manifest, lambda digest: blob_path(store, digest), cpu, task.setup.threads)
    spec = manifest.inputs[0].decode
    rows = [graph.run(np.array(values, spec.dtype).reshape(spec.shape)) for values in request.samples]
    return json.dumps([[float(value) for value in next(iter(row.values())).reshape(-1)] for row in rows]).encode()


if __name__ == "__main__":
    main()
