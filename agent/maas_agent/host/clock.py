"""Tells a clock that was never set, and counts seconds that no clock on the wall can move."""

import time
from functools import cache
from pathlib import Path

UNSET_BEFORE = 1_767_225_600.0
"""2026-01-01, in seconds since 1970: before this project existed, so no clock that is set says so."""
JUMP_S = 5.0
"""A clock that differs by less is slewed, or is just a little wrong."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_set(now: float) -> bool:
    """Whether a wall clock that says ``now`` (seconds since 1970) can have been set."""
    return now >= UNSET_BEFORE


def since_boot() -> float:
    """Seconds since the machine was started, also those in which it slept: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_offset() -> float:
    """By how many seconds the wall clock is ahead of the machine's start: another number when somebody has set it."""
    return time.time() - since_boot()


@cache
def boot_id() -> str:
    """What the kernel calls this run of the machine; empty where it does not say."""
    try:
        return _BOOT_ID.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
