"""The process that tries a staged bundle again for the hub: after the device changed, or when a quarantine is over."""

import os
import socket
from collections.abc import Callable

import msgspec

from maas_agent.hub.loop import Loop
from maas_agent.hub.workers import describe_exit, end_group, spawn
from maas_agent.trials.task import Assignment, Report
from maas_agent.update.protocol import SELF_TEST_S

_RECEIVE_BYTES = 1 << 16


class Tester:
    """One assignment; ``on_report`` gets what came of it, also if the process dies."""

    def __init__(self, loop: Loop, assignment: Assignment, on_report: Callable[[Report], None]) -> None:
        self._loop, self._on_report = loop, on_report
        self._received = b""
        self._socket, theirs = socket.socketpair()
        self._pid = spawn("maas_agent.trials", theirs)
        theirs.close()
        self._pidfd = os.pidfd_open(self._pid)
        self._socket.sendall(msgspec.json.encode(assignment) + b"\n")
        self._socket.setblocking(False)
        loop.watch(self._socket, lambda *_: self._receive())
        loop.watch(self._pidfd, lambda *_: self._exited())
        self._deadline = loop.after(SELF_TEST_S, self.kill)

    def kill(self) -> None:
        """End it and what it started."""
        end_group(self._pid)

    def _receive(self) -> None:
        try:
            chunk = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ConnectionError):
            return
        self._received += chunk
        if not chunk:
            self._loop.unwatch(self._socket)

    def _exited(self) -> None:
        self._receive()
        _, status = os.waitpid(self._pid, 0)
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        end_group(self._pid)
        self._loop.unwatch(self._socket)
        self._socket.close()
        self._deadline.cancel()
        self._on_report(self._report(describe_exit(status)))

    def _report(self, how: str) -> Report:
        try:
            return msgspec.json.decode(self._received, type=Report)
        except msgspec.DecodeError:
            return Report(refused=f"the process that tries it {how}")
