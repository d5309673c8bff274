"""Trials by the thousand: the very code of a trial's process, in forks of one that has loaded the libraries already.

``python -m tests.forks`` reads a `Request` a line and answers with an `Ended` a line. What crashes, hangs or takes all
memory is one fork; starting Python and NumPy anew for each would take a quarter of a second more.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from maas_agent.trials.run import judged
from maas_agent.trials.task import TrialTask, TrialVerdict

ROOT = Path(__file__).parents[1]
_GRACE_S = 5.0
_FAILED = 70

Rows = list[list[float | None]]
"""Answers; ``None`` is not a number."""


class Request(msgspec.Struct):
    """Try ``task``; if it passes, also answer the samples in the ``.npy`` file ``inputs``, in another fork."""

    task: TrialTask
    inputs: str = ""


class Ended(msgspec.Struct):
    """The trial's verdict and how its process ended; the same of the one that answered.

    A status below zero is the signal that ended it, as in `subprocess`.
    """

    verdict: TrialVerdict
    status: int
    answers: Rows | None = None
    answers_status: int = 0


class Forks:
    """The process that forks, as a context. That it ends is what no mutant must be able to do."""

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
        replies.write(msgspec.json.encode(_ended(request)) + b"\n")
        replies.flush()


def _requests(first: Request) -> Iterator[Request]:
    yield first
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=Request)


def _ended(request: Request) -> Ended:
    task = request.task
    status, said = _forked(lambda: _verdict(task), task.seconds)
    ended = Ended(judged(task, status, said, b""), status)
    if ended.verdict.trial.refused is None and request.inputs:
        ended.answers_status, said = _forked(lambda: _answers(request), task.seconds)
        if ended.answers_status == 0:
            ended.answers = msgspec.json.decode(said, type=Rows)
    return ended


def _forked(work: Callable[[], bytes], seconds: float) -> tuple[int, bytes]:
    """How a fork of this process ended, and what ``work`` returned there."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _end_with(work, write)
    os.close(write)
    said = _read_until(time.monotonic() + seconds + _GRACE_S, read)
    if said is None:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said or b""


def _end_with(work: Callable[[], bytes], write: int) -> None:
    """The fork's whole life: it must not get back into the loop of the process it was made from."""
    status = _FAILED
    with contextlib.suppress(BaseException):
        try:
            os.write(write, work())
            status = 0
        except BaseException:
            traceback.print_exc()
    os._exit(status)


def _read_until(deadline: float, read: int) -> bytes | None:
    said = b""
    while select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(read, 1 << 16)
        if not chunk:
            return said
        said += chunk
    return None


def _verdict(task: TrialTask) -> bytes:
    from maas_agent.trials import child

    return msgspec.json.encode(child._verdict(task))


def _answers(request: Request) -> bytes:
    """What would be served: the real values of the first output, for each sample."""
    from maas_agent.bundle.staged import Staged
    from maas_agent.runtime.graph import Graph
    from maas_agent.runtime.selection import accelerator

    task = request.task
    signal.setitimer(signal.ITIMER_REAL, task.seconds)
    staged = Staged(Path(task.store), task.digest)
    cpu = accelerator(task.setup.accelerator, task.setup.options, task.setup.library)
    graph = Graph(staged.manifest, staged.path, cpu, task.setup.threads)
    rows = [graph.run(sample) for sample in np.load(request.inputs)]
    return msgspec.json.encode([next(iter(row.values())).reshape(-1).tolist() for row in rows])


if __name__ == "__main__":
    main()
