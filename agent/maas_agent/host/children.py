"""Ties a process to its parent, with which it ends, and names how one ended in a word."""

import contextlib
import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have the system end this process when the one that started it ends, however it does."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux: a killed parent leaves a child that ends by itself
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def signal_name(number: int) -> str:
    """``SIGSEGV`` of 11; a real-time signal has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
