"""A wall clock that is wrong, for one process and its children: a library that is preloaded, made from ``clocks.c``."""

import os
import struct
import time
from pathlib import Path

from tests.delegates import compiled

_SOURCE = Path(__file__).with_name("clocks.c")


class WrongClock:
    """``environment`` is for the process; `jump` sets its clock while it runs. Skips the test without a C compiler."""

    def __init__(self, folder: Path, ahead_s: float) -> None:
        folder.mkdir(exist_ok=True)
        self._shift = folder / "shift"
        library = compiled(_SOURCE, folder / "libclock.so")
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._shift)}
        self.jump(ahead_s)

    def jump(self, ahead_s: float) -> None:
        """From now on the clock is so many seconds ahead of the right one."""
        # In its place: processes have it mapped.
        descriptor = os.open(self._shift, os.O_WRONLY | os.O_CREAT)
        os.pwrite(descriptor, struct.pack("=q", int(ahead_s)), 0)
        os.close(descriptor)


def wrong_clock(folder: Path, ahead_s: float) -> dict[str, str]:
    """The environment of a process whose wall clock is so far ahead."""
    return WrongClock(folder / "clock", ahead_s).environment


def at_the_epoch() -> float:
    """How far the clock of a board without a battery is ahead of the right one, in seconds: it stands in 1970."""
    return 60 - time.time()
