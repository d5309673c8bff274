"""Starting and ending the program of a source: here, or by a process that may while this one may not.

A worker is confined before it loads a model: it starts no program, and sees nothing of what a program needs. So one
with a source forks before that. What it forks starts this one program, whenever it is asked, hands over the end of its
pipe, and ends it: a model that takes the worker over can have the configured program started, and no other one.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from maas_agent.host import descendants
from maas_agent.host.programs import obstacle

_TERMINATE_S = 2.0
_CLOSING_S = 0.2
"""A program that ends closes its output a moment before."""
_LOOK_S = 0.01
_REQUEST_BYTES = 64
_REPLY_BYTES = 1 << 16
_MOST_REASON = 2000


class Started(msgspec.Struct, frozen=True, tag="started"):
    """It runs; beside this there is the end of a pipe that it writes to."""

    pid: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be started."""

    reason: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """How a run ended. ``status`` is negative for a signal; ``went_on`` if it had to be ended although it was told that
    its output is closed. ``obstacle`` is what can be seen to be wrong with a program that failed.
    """

    status: int
    went_on: bool = False
    obstacle: str | None = None


class Program(Protocol):
    """A program that runs once at a time."""

    def start(self) -> tuple[Started, int] | Refused:
        """Start it; the descriptor is the caller's to close."""
        ...

    def end(self, *, closed: bool = False) -> Ended:
        """End it and whatever it has started; ``closed`` if it has closed its output, and may be about to end."""
        ...


class OwnProgram:
    """Started by this process; ``mark`` is carried by all that it starts."""

    def __init__(self, command: Sequence[str], mark: str) -> None:
        self._command, self._mark = tuple(command), mark
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> tuple[Started, int] | Refused:
        """See `Program`."""
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            return Refused(error.strerror or str(error))
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                env=os.environ | {descendants.MARK: self._mark},
                process_group=0,
            )
        except (OSError, ValueError) as error:  # ValueError: what no program can be given, such as a zero byte
            os.close(reading)
            reason = str(obstacle(self._command) or getattr(error, "strerror", None) or error)
            return Refused(reason[:_MOST_REASON])
        finally:
            os.close(writing)
        return Started(self._child.pid), reading

    def end(self, *, closed: bool = False) -> Ended:
        """See `Program`. It is waited for last: until then nothing else can have the number of its process group."""
        child, self._child = self._child, None
        if child is None:
            return Ended(0)
        went_on = closed and not _exits(child, _CLOSING_S)
        self._signal(child, signal.SIGTERM)
        deadline = time.monotonic() + _TERMINATE_S
        _exits(child, _TERMINATE_S)
        while descendants.marked(self._mark) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        self._signal(child, signal.SIGKILL)
        descendants.kill(self._mark)
        status = child.wait()
        found = obstacle(self._command) if closed and status > 0 else None
        return Ended(status, went_on, str(found)[:_MOST_REASON] if found else None)

    def _signal(self, child: subprocess.Popen[bytes], number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        others = {pid for pid in descendants.marked(self._mark) if _group_of(pid) != child.pid}
        descendants.send(others, number)


class ForkedProgram:
    """Started by a process that is forked here and now, and ends with this one.

    ``close`` are descriptors that it is to have no part in. Only for a process with one thread. Raises ``OSError``.
    """

    def __init__(self, program: OwnProgram, close: Sequence[int]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            status = 1
            try:
                for descriptor in (self._ours.fileno(), *close):
                    os.close(descriptor)
                _serve(theirs, program)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def start(self) -> tuple[Started, int] | Refused:
        """See `Program`."""
        reply, descriptors = self._ask(b"start")
        if isinstance(reply, Started) and len(descriptors) == 1:
            return reply, descriptors[0]
        return reply if isinstance(reply, Refused) else Refused("the process that starts it says something else")

    def end(self, *, closed: bool = False) -> Ended:
        """See `Program`."""
        reply, _ = self._ask(b"closed" if closed else b"end")
        return reply if isinstance(reply, Ended) else Ended(0)

    def _ask(self, request: bytes) -> tuple[Started | Refused | Ended, list[int]]:
        self._ours.sendall(request)
        said, descriptors, _, _ = socket.recv_fds(self._ours, _REPLY_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        if not said:
            raise BrokenPipeError("the process that starts the source's program is gone")
        return msgspec.json.decode(said, type=Started | Refused | Ended), descriptors


def _serve(asked: socket.socket, program: OwnProgram) -> None:
    """Do what is asked, until nobody asks any more."""
    with contextlib.suppress(ConnectionError):
        while request := asked.recv(_REQUEST_BYTES):
            if request == b"start":
                program.end()
                _step_forward()
                reply = program.start()
                if isinstance(reply, Refused):
                    asked.sendall(msgspec.json.encode(reply))
                    continue
                started, output = reply
                socket.send_fds(asked, [msgspec.json.encode(started)], [output])
                os.close(output)
            else:
                asked.sendall(msgspec.json.encode(program.end(closed=request == b"closed")))
    program.end()


def _step_forward() -> None:
    """As the worker: it was forked from one that may have given way to others, and does so no more."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.sched_getscheduler(os.getppid()), os.sched_param(0))


def _exits(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it has ended by then; it stays a zombie, and its number is not given away."""
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
