"""Runs a program that prints one JSON sample a line: any sensor that a script can read.

Its standard error goes to the log. When it ends, for whatever reason, it is started again after a delay that doubles up
to a bound and is halved at random, so that a fleet does not start in step. Reading stops while the worker computes: a
program that prints faster than the model answers waits in its pipe.

It ends with everything it has started: a reader that a shell leaves behind keeps the device, and the next program would
get nothing.
"""

import contextlib
import os
import random
import time

from maas_agent.base.log import Log
from maas_agent.base.untrusted import Lines
from maas_agent.config import CommandSource
from maas_agent.host.children import signal_name
from maas_agent.ipc import SourceIs
from maas_agent.worker.sources.condition import SourceCondition
from maas_agent.worker.sources.interface import Reading
from maas_agent.worker.sources.program import Ended, Program, Refused

_READ_BYTES = 1 << 16
_MARK = b"\xef\xbb\xbf"
"""Of UTF-8, which some programs print first."""
_HEALTHY_S = 10.0
"""A program that ran for so long is well, and starts again with the shortest delay."""


class CommandRunner:
    """Runs the program; see `maas_agent.worker.sources.interface.LocalSource`. ``program`` starts and ends it."""

    def __init__(self, config: CommandSource, max_line_bytes: int, log: Log, program: Program) -> None:
        self._config, self._program = config, program
        self._lines = LineSplitter(max_line_bytes)
        self._log = log
        self._output: int | None = None
        self._condition = SourceCondition()
        self._started_at = 0.0
        self._spoke = self._is_proved = False
        self._restart_at: float | None = None
        self._delay_s = config.restart_s

    @property
    def condition(self) -> SourceIs:
        """Whether it gives samples, and if not, why."""
        return self._condition.now

    def start(self) -> None:
        """Start the program now."""
        self._restart_at = None
        self._started_at = time.monotonic()
        self._spoke = self._is_proved = False
        found = self._program.start()
        if isinstance(found, Refused):
            self._log.error("cannot start the source", command=self._config.command[0], reason=found.reason)
            self._condition.refused(found.reason)
            self._schedule_restart()
            return
        started, self._output = found
        os.set_blocking(self._output, False)
        self._condition.started()
        self._log.info("source started", command=self._config.command[0], pid=started.pid)

    def fileno(self) -> int | None:
        """The program's standard output."""
        return self._output

    def read(self) -> list[Reading]:
        """One read's worth of whole lines; notices when the program has ended."""
        descriptor = self.fileno()
        if descriptor is None:
            return []
        try:
            chunk = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        readings = self._lines.feed(chunk) if chunk else self._lines.end()
        if readings:
            self._spoke = True
            self._prove()
        if not chunk:
            self._ended()
        return readings

    def wake_in(self) -> float | None:
        """Seconds until the program is to be started again, or has lived for long enough to be called well."""
        if self._restart_at is not None:
            return max(0.0, self._restart_at - time.monotonic())
        if self._output is not None and not self._is_proved:
            return max(0.0, self._started_at + _HEALTHY_S - time.monotonic())
        return None

    def tick(self) -> list[Reading]:
        """Start the program again if it is time; what it prints is there to be read later."""
        now = time.monotonic()
        if self._restart_at is not None and now >= self._restart_at:
            self.start()
        elif self._output is not None and not self._is_proved and now >= self._started_at + _HEALTHY_S:
            self._prove()
        return []

    def done(self, reading: Reading) -> None:
        """A line that was printed is gone: nothing is kept for it."""

    def stop(self) -> list[Reading]:
        """Terminate the program (SIGKILL if it does not listen) and return what it had printed."""
        self._restart_at = None
        if self._output is None:
            return []
        self._program.end()
        readings = self._rest()
        self._close()
        return readings

    def _prove(self) -> None:
        self._is_proved = True
        self._condition.proved()

    def _rest(self) -> list[Reading]:
        readings: list[Reading] = []
        descriptor = self.fileno()
        with contextlib.suppress(BlockingIOError):  # what could not be ended may hold the pipe open
            while descriptor is not None and (chunk := os.read(descriptor, _READ_BYTES)):
                readings += self._lines.feed(chunk)
        return readings

    def _ended(self) -> None:
        if self._output is None:
            return
        # Its output is closed: what goes on without one is no source.
        ended = self._program.end(closed=True)
        self._close()
        how = self._how_it_ended(ended)
        self._log.warning("source ended", command=self._config.command[0], status=ended.status, reason=how)
        self._condition.ended(how, well=ended.status == 0 and not ended.went_on, spoke=self._spoke)
        self._schedule_restart()

    def _how_it_ended(self, ended: Ended) -> str:
        program, status = self._config.command[0], ended.status
        if ended.went_on:
            return f"{program} closed its output and went on: it was ended"
        how = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with status {status}"
        if self._spoke:
            return f"{program} {how}"
        if ended.obstacle is not None:
            return f"{program} {how}: {ended.obstacle}"
        advice = "; what it printed on standard error is in the log" if status else ""
        return f"{program} {how} without printing a line{advice}"

    def _schedule_restart(self) -> None:
        if time.monotonic() - self._started_at > _HEALTHY_S:
            self._delay_s = self._config.restart_s
        self._restart_at = time.monotonic() + random.uniform(self._delay_s / 2, self._delay_s)
        self._delay_s = min(self._delay_s * 2, self._config.restart_max_s)

    def _close(self) -> None:
        if self._output is not None:
            os.close(self._output)
        self._output = None


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
        return Reading(line, "application/json") if line.removeprefix(_MARK).strip() else None
