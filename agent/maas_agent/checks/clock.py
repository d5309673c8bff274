"""Checks the clock: against this project's own age, and against the repository's server."""

import time
from email.utils import parsedate_to_datetime

import msgspec

from maas_agent.checks.finding import CheckResult
from maas_agent.host.clock import is_set

_MOST_SKEW_S = 60.0
_MEND = "timedatectl set-ntp true   (signatures expire by date)"


class ServerTime(msgspec.Struct, frozen=True):
    """What a server said the time is, and this device's own just before it was asked and just after, in seconds."""

    server: float
    asked: float
    answered: float

    @property
    def skew_s(self) -> float:
        """How far this device is ahead of the server (negative: behind), not counting the way there and back."""
        return self.answered - self.server if self.server > self.answered else max(0.0, self.asked - self.server)


def server_time(date: str | None, age: str | None, asked: float, answered: float) -> ServerTime | None:
    """From the headers ``Date`` and, of an answer out of a cache, ``Age`` (RFC 9110 6.6.1, RFC 9111 5.1)."""
    try:
        server = parsedate_to_datetime(date or "").timestamp() + (int(age) if age else 0)
    except (ValueError, TypeError, OverflowError):
        return None
    return ServerTime(server, asked, answered)


def clock(seen: ServerTime | None) -> CheckResult:
    """The clock's finding; ``seen`` is the repository's time, if it said any."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if not is_set(now):
        return CheckResult("clock", False, shown, _MEND)
    if seen is None:
        return CheckResult("clock", True, shown)
    if abs(seen.skew_s) > _MOST_SKEW_S:
        where = "ahead of" if seen.skew_s > 0 else "behind"
        return CheckResult("clock", False, f"{shown}, {abs(seen.skew_s):.0f} s {where} the repository's server", _MEND)
    return CheckResult("clock", True, f"{shown}, as the repository's server has it")
