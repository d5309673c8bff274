"""Runs a bundle in a child process: hands on its answers as they come, and a sentence if it dies."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator

import msgspec

from maas_agent.base.terminal import relayed_stderr
from maas_agent.base.untrusted import MALFORMED, is_deeper
from maas_agent.errors import DataError, MaasError, NoInputError, RuntimeFailure, UnavailableError, UsageError
from maas_agent.host.children import signal_name
from maas_agent.offline.messages import Doing, FileAnswered, InferTask, Message, RunFailed, Warned

_ERRORS: dict[int, type[MaasError]] = {
    kind.exit_code: kind for kind in (UsageError, DataError, NoInputError, UnavailableError, RuntimeFailure)
}

_MAX_LEVELS = 32
"""Of an answer: a result has a list for each dimension of an output."""


def answers(task: InferTask, warn: Callable[[str], None]) -> Generator[FileAnswered, None, None]:
    """Run ``task``; raises the child's `MaasError`, or `RuntimeFailure` if a signal ended it.

    The child is gone when this ends, however it ends: a model that hangs is ended by Ctrl-C.
    """
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "maas_agent.offline.child", str(theirs.fileno())]
    with ours, theirs, relayed_stderr() as stderr:
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=stderr)
        theirs.close()
        try:
            yield from _listen(ours, child, task, warn)
        finally:
            child.kill()
            child.wait()


def _listen(
    ours: socket.socket, child: subprocess.Popen[bytes], task: InferTask, warn: Callable[[str], None]
) -> Iterator[FileAnswered]:
    doing = "it started"
    with ours.makefile("rwb") as lines:
        lines.write(msgspec.json.encode(task) + b"\n")
        lines.flush()
        for line in lines:
            match _message(line):
                case Doing(what):
                    doing = what
                case Warned(reason):
                    warn(reason)
                case RunFailed(exit_code, reason):
                    raise _ERRORS.get(exit_code, RuntimeFailure)(reason)
                case FileAnswered() as answer:
                    yield answer
    status = child.wait()
    if status == -signal.SIGINT:
        raise KeyboardInterrupt  # a terminal's Ctrl-C goes to both
    if status:
        raise RuntimeFailure(_ended(task, status, doing))


def _message(line: bytes) -> Message:
    try:
        message: Message = msgspec.json.decode(line, type=Message)
    except MALFORMED:
        raise RuntimeFailure("the process that runs the model ended in the middle of an answer") from None
    if isinstance(message, FileAnswered) and is_deeper([message.result, message.response, message.given], _MAX_LEVELS):
        raise RuntimeFailure("the process that runs the model gives an answer that is nested without end")
    return message


def _ended(task: InferTask, status: int, doing: str) -> str:
    if status == -signal.SIGKILL:
        return f"{task.bundle}: killed (SIGKILL) while {doing}, most likely for want of memory"
    if status < 0:
        return f"{task.bundle}: killed by {signal_name(-status)} while {doing}: the model crashes this device"
    return f"{task.bundle}: ended with status {status} while {doing}"
