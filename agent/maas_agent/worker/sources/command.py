"""A program that prints one JSON sample a line: any sensor that a script can read.

The program runs as a child of the worker; its standard error goes to the log. When it ends, for whatever reason, it is
started again after a delay that doubles up to a bound and is halved at random, so that a fleet does not start in step.
Reading stops while the worker computes: a program that prints faster than the model answers waits in its pipe.
"""

import contextlib
import os
import random
import signal
import subprocess
import time

from maas_agent.config import CommandSource
from maas_agent.log import Log
from maas_agent.untrusted import Lines
from maas_agent.worker.sources.interface import Reading

_READ_BYTES = 1 << 16
_HEALTHY_S = 10.0
"""A program that ran for so long starts again with the shortest delay."""
_TERMINATE_S = 2.0


class CommandRunner:
    """Runs the program; see `maas_agent.worker.sources.interface.LocalSource`."""

    def __init__(self, config: CommandSource, max_line_bytes: int, log: Log) -> None:
        self._config = config
        self._lines = LineSplitter(max_line_bytes)
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._delay_s = config.restart_s

    def start(self) -> None:
        """Start the program now."""
        self._restart_at = None
        self._started_at = time.monotonic()
        try:
            self._child = subprocess.Popen(
                self._config.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            self._log.error("cannot start the source", command=self._config.command[0], reason=error.strerror)
            self._schedule_restart()
            return
        os.set_blocking(self._child.stdout.fileno(), False)  # type: ignore[union-attr]  # stdout is a pipe
        self._log.info("source started", command=self._config.command[0], pid=self._child.pid)

    def fileno(self) -> int | None:
        """The program's standard output."""
        return self._child.stdout.fileno() if self._child and self._child.stdout else None

    def read(self) -> list[Reading]:
        """One read's worth of whole lines; notices when the program has ended."""
        descriptor = self.fileno()
        if descriptor is None:
            return []
        try:
            chunk = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        if not chunk:
            self._ended()
            return self._lines.end()
        return self._lines.feed(chunk)

    def wake_in(self) -> float | None:
        """Seconds until the program is to be started again."""
        return None if self._restart_at is None else max(0.0, self._restart_at - time.monotonic())

    def tick(self) -> None:
        """Start the program again if it is time."""
        if self._restart_at is not None and time.monotonic() >= self._restart_at:
            self.start()

    def stop(self) -> list[Reading]:
        """Terminate the program (SIGKILL if it does not listen) and return what it had printed."""
        self._restart_at = None
        if self._child is None:
            return []
        self._child.terminate()
        try:
            self._child.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        readings = self._rest()
        self._close()
        return readings

    def _rest(self) -> list[Reading]:
        readings: list[Reading] = []
        descriptor = self.fileno()
        with contextlib.suppress(BlockingIOError):  # a grandchild may hold the pipe open
            while descriptor is not None and (chunk := os.read(descriptor, _READ_BYTES)):
                readings += self._lines.feed(chunk)
        return readings

    def _ended(self) -> None:
        child = self._child
        if child is None:
            return
        # Its output is closed: a program that goes on without one is no source.
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_TERMINATE_S)
            if child.poll() is None:
                child.kill()
        status = child.wait()
        self._close()
        self._log.warning("source ended", command=self._config.command[0], status=status)
        self._schedule_restart()

    def _schedule_restart(self) -> None:
        if time.monotonic() - self._started_at > _HEALTHY_S:
            self._delay_s = self._config.restart_s
        self._restart_at = time.monotonic() + random.uniform(self._delay_s / 2, self._delay_s)
        self._delay_s = min(self._delay_s * 2, self._config.restart_max_s)

    def _close(self) -> None:
        if self._child and self._child.stdout:
            self._child.stdout.close()
        self._child = None


class LineSplitter:
    """Cuts a byte stream into lines; a line longer than the bound is skipped and reported, never kept."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._lines = Lines()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[Reading]:
        """Add bytes; return the lines they complete, empty ones left out."""
        readings = [reading for line in self._lines.feed(chunk) if (reading := self._whole(line)) is not None]
        if len(self._lines.rest) > self._max:
            self._lines.rest.clear()
            if not self._skipping:
                self._skipping = True
                readings.append(Reading(b"", error=f"a line of the source has more than {self._max} bytes"))
        return readings

    def end(self) -> list[Reading]:
        """The stream has ended: what came after the last line break counts as a line."""
        rest, self._lines = bytes(self._lines.rest), Lines()
        reading = self._whole(rest)
        return [] if reading is None else [reading]

    def _whole(self, line: bytes) -> Reading | None:
        if self._skipping:
            self._skipping = False
            return None
        if len(line) > self._max:
            return Reading(b"", error=f"a line of the source has more than {self._max} bytes")
        return Reading(line, "application/json") if line.strip() else None
