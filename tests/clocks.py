"""A wall clock that is wrong, for one process: a library that is preloaded, compiled from ``clocks.c``."""

import time
from pathlib import Path

from tests.delegates import compiled

_SOURCE = Path(__file__).with_name("clocks.c")


def wrong_clock(folder: Path, shift_s: float) -> dict[str, str]:
    """The environment of a process whose wall clock is ``shift_s`` ahead; skips the test without a C compiler."""
    library = folder / "libclock.so"
    if not library.exists():
        compiled(_SOURCE, library)
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(int(shift_s))}


def at_the_epoch() -> float:
    """How far the clock of a board without a battery is from the right one, in seconds."""
    return 60 - time.time()
