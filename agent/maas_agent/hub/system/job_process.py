"""Runs a short-lived process for one job: it is told the job at once, says something, and ends."""

import os
import socket
from collections.abc import Callable

from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.process import Child, describe_exit, end_group, wait_for

_RECEIVE_BYTES = 1 << 16


class JobProcess:
    """Runs ``python -m module`` with one end of a socketpair, and kills it after ``seconds``.

    ``on_bytes`` gets what it says, ``on_end`` how it ended (a phrase), after its last word. Raises ``OSError`` if it
    cannot be started.
    """

    def __init__(
        self,
        loop: Loop,
        module: str,
        job: bytes,
        seconds: float,
        on_bytes: Callable[[bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop, self._on_bytes, self._on_end = loop, on_bytes, on_end
        child = Child(module)
        self._socket, self.pid, self._pidfd = child.socket, child.pid, child.pidfd
        self._untold = bytearray()
        loop.watch(self._socket, self._on_event)
        loop.watch(self._pidfd, lambda *_: self._exited())
        self.send(job)
        self._deadline = loop.after(seconds, self.kill)

    def send(self, data: bytes) -> None:
        """Tell it more, as fast as it listens. What is said to a process that has just died is lost with it."""
        self._untold += data
        self._tell()

    def kill(self) -> None:
        """End it and what it started."""
        end_group(self.pid)

    def _on_event(self, readable: bool, writable: bool) -> None:
        if writable:
            self._tell()
        if readable:
            self._receive()

    def _tell(self) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            while self._untold:
                del self._untold[: self._socket.send(self._untold, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            self._untold.clear()  # it is dead; the pidfd will say how
        self._loop.watch(self._socket, self._on_event, write=bool(self._untold))

    def _receive(self) -> bool:
        try:
            chunk = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ConnectionError):
            return False
        if chunk:
            self._on_bytes(chunk)
        else:
            self._loop.unwatch(self._socket)
        return bool(chunk)

    def _exited(self) -> None:
        while self._receive():
            pass
        status = wait_for(self.pid)
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        end_group(self.pid)
        self._loop.unwatch(self._socket)
        self._socket.close()
        self._deadline.cancel()
        self._on_end(describe_exit(status))
