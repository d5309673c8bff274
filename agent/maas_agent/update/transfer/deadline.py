"""Sets a deadline for everything that happens inside it, whoever waits there and for what."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from maas_agent.errors import PullError


class _Passed(BaseException):
    """Not an ``Exception``: libraries catch those, wrap them, and try again."""


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Raise `PullError` if the block takes longer; in the main thread only.

    A server can send one byte just before each read times out, in the status line or the headers too, where no
    library counts: at that pace a download never ends and never fails. Only a timer that does not care where
    the program waits is a total deadline, and SIGALRM interrupts any system call. (The one exception is a call into
    the C resolver, which goes on for its own time-outs, about 30 s with three dead name servers.)
    """
    before = signal.signal(signal.SIGALRM, _pass)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            # Inside the outer try: the signal may still come before the timer is off.
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Passed:
        raise PullError(f"{what} did not end within {seconds:g} s") from None
    finally:
        signal.signal(signal.SIGALRM, before)


def _pass(_number: int, _frame: FrameType | None) -> None:
    raise _Passed
