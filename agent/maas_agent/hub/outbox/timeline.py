"""Tells how old a message is, and what the time in it should say, whatever somebody does to the wall clock.

Ages are counted in seconds since the machine's start. The disk outlives that start, so what is on it has the wall
clock's time, and beside it are the `ClockReading`s: what the wall clock said when it was looked at. A clock that jumps
makes a new one, and tells how far the earlier ones of that run of the machine were wrong. What came before it was
started cannot be younger than it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from uuid import uuid4

import msgspec

from maas_agent.host.clock import JUMP_S, UNSET_BEFORE, boot_id, since_boot, wall_offset

_MOST = 256
"""Readings that are kept: somebody may play with the clock for days."""


class ClockReading(msgspec.Struct, frozen=True):
    """From message ``first`` on, in the run ``boot`` of the machine, the wall clock was ``offset`` seconds ahead of the
    machine's start: that start in seconds since 1970, as far as the clock was right."""

    first: int
    boot: str
    offset: float


class Timeline:
    """Keeps the clock of the outbox. Its messages are named by their sequence, which only grows."""

    def __init__(self) -> None:
        self._boot = boot_id() or uuid4().hex  # a run that has no name is like no other
        self._readings: list[ClockReading] = []
        self._opened_at = since_boot()
        self.is_saved = True

    @property
    def readings(self) -> Sequence[ClockReading]:
        """What has to be on the disk beside the messages, the oldest first."""
        return self._readings

    @property
    def now(self) -> float:
        """Seconds since the machine's start."""
        return since_boot()

    def found(self, readings: Sequence[ClockReading], last: int) -> None:
        """An earlier run has left these, with messages up to ``last``; what this one has made comes behind them."""
        ours = [msgspec.structs.replace(reading, first=reading.first + last) for reading in self._readings]
        self._readings, self.is_saved = [*readings], True
        for reading in ours:
            self._add(reading)

    def look(self, sequence: int) -> bool:
        """Look at the wall clock: what it says now counts from message ``sequence`` on, which is not put yet.

        Returns whether it has jumped.
        """
        return self._add(ClockReading(sequence, self._boot, wall_offset()))

    def _add(self, reading: ClockReading) -> bool:
        latest = self._readings[-1] if self._readings else None
        if latest and latest.boot == reading.boot and abs(latest.offset - reading.offset) < JUMP_S:
            return False
        if latest and latest.first >= reading.first and latest.boot == reading.boot:
            # Nothing was put by the latest one. What came before is still compared with the newest.
            reading = msgspec.structs.replace(reading, first=latest.first)
            del self._readings[-1]
        self._readings = [*self._readings, reading][-_MOST:]
        self.is_saved = False
        return True

    # ------------------------------------------------------------- messages

    def put_at(self, sequence: int, wall: float) -> float:
        """When message ``sequence`` was put, in seconds since the machine's start; negative if it was before that.

        ``wall`` is what the wall clock said, and the disk kept. A time that cannot be right is taken for the latest
        that is possible: nothing is dropped for an age that nobody knows.
        """
        reading = self._of(sequence)
        if reading is not None and reading.boot == self._boot:
            return min(wall - reading.offset, self.now)
        latest = self._opened_at if reading is None else 0.0
        right = wall + self._error(reading)
        return min(right - self._offset, latest) if right >= UNSET_BEFORE else latest

    def wall(self, sequence: int, put_at: float) -> float:
        """What the wall clock said then: the inverse of `put_at`."""
        reading = self._of(sequence)
        if reading is not None and reading.boot == self._boot:
            return put_at + reading.offset
        return put_at + self._offset - self._error(reading)

    def error(self, sequence: int) -> float:
        """Seconds that are to be added to what the wall clock said when message ``sequence`` was put.

        By what is known now: 0 until the clock has jumped.
        """
        return self._error(self._of(sequence))

    def _error(self, reading: ClockReading | None) -> float:
        if reading is None:
            return 0.0
        return next(other.offset for other in reversed(self._readings) if other.boot == reading.boot) - reading.offset

    def _of(self, sequence: int) -> ClockReading | None:
        place = bisect_right(self._readings, sequence, key=lambda reading: reading.first)
        return self._readings[place - 1] if place else None

    @property
    def _offset(self) -> float:
        """The wall clock's, by its latest reading."""
        return self._readings[-1].offset if self._readings else wall_offset()
