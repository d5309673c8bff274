"""Holds the puller's end of the socketpair to the hub."""

import os
import queue
import socket
import threading
from typing import NoReturn

from maas_agent.errors import DataError, SelfTestError, UnavailableError
from maas_agent.trials.record import Trials
from maas_agent.update.protocol import MAX_JOB_BYTES, Event, PullJob, PullProgress, decode_go, decode_job, line_of


class HubLink:
    """Speaks `maas_agent.update.protocol` with the hub; a hub that is gone ends this process at once.

    A thread does the reading, so that even a download in full swing ends when the hub does: what a puller
    without a hub does is nobody's wish, and the next hub starts its own. It begins with `follow`, because not every
    kernel confines a thread that is there already.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def job(self) -> PullJob:
        """The hub's first line; raises `DataError` if it is no job."""
        return decode_job(self._line() or _leave())

    def follow(self) -> None:
        """From now on listen, and end when the hub does."""
        threading.Thread(target=self._read, name="hub", daemon=True).start()

    def enter(self, progress: PullProgress) -> None:
        """Announce a state and wait until the hub has persisted it."""
        self.tell(progress)
        decode_go(self._lines.get())

    def test(self, progress: PullProgress) -> Trials:
        """Announce a test and wait for what came of it; raises `SelfTestError`, or `UnavailableError`."""
        self.tell(progress)
        report = decode_go(self._lines.get()).report
        if report is None:
            raise DataError("the hub said nothing of the test")
        if report.trials is None:
            raise (SelfTestError if report.blamed else UnavailableError)(report.refused or "the bundle was not tried")
        return report.trials

    def tell(self, event: Event) -> None:
        """Send one event."""
        try:
            self._connection.sendall(line_of(event))
        except OSError:
            _leave()

    def _line(self) -> bytes:
        """A whole line; empty when there is no other one."""
        line = self._stream.readline(MAX_JOB_BYTES)
        return line if line.endswith(b"\n") else b""

    def _read(self) -> None:
        try:
            while line := self._line():
                self._lines.put(line)
        except OSError:
            pass
        _leave()


def _leave() -> NoReturn:
    # Not sys.exit: that would end a thread, and run clean-up that nobody needs.
    os._exit(0)
