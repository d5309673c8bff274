"""Holds the puller's end of the socketpair to the hub."""

import os
import queue
import socket
import threading

from maas_agent.update.protocol import MAX_JOB_BYTES, Event, PullJob, PullProgress, decode_job, line_of


class HubLink:
    """Speaks `maas_agent.update.protocol` with the hub; a hub that is gone ends this process at once.

    A thread does the reading, so that even a download in full swing ends when the hub does: what a puller
    without a hub does is nobody's wish, and the next hub starts its own.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="hub", daemon=True).start()

    def job(self) -> PullJob:
        """The hub's first line; raises `DataError` if it is no job."""
        return decode_job(self._lines.get())

    def enter(self, progress: PullProgress) -> None:
        """Announce a state and wait until the hub has persisted it."""
        self.tell(progress)
        self._lines.get()

    def tell(self, event: Event) -> None:
        """Send one event."""
        try:
            self._connection.sendall(line_of(event))
        except OSError:
            _leave()

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as stream:
                while (line := stream.readline(MAX_JOB_BYTES)).endswith(b"\n"):
                    self._lines.put(line)
        except OSError:
            pass
        _leave()


def _leave() -> None:
    # Not sys.exit: that would end a thread, and run clean-up that nobody needs.
    os._exit(0)
