"""Chooses when to connect again: full jitter below a growing bound, longer where another has this client id.

All times are in seconds on the monotonic clock.
"""

import random
from enum import Enum, auto

FIRST_S = 0.5
STABLE_S = 30.0
_SHORT_LIVES = 4
"""Connections in a row that were accepted and closed soon after, without a word."""


class End(Enum):
    """How a connection, or the attempt to make one, ended."""

    FAILED = auto()
    """It was not made, or broke: a cut, a restart, a silence."""
    CLOSED = auto()
    """The broker accepted it, then closed it in good order and without giving a reason."""
    TAKEN_OVER = auto()
    """The broker gave the session to another connection with the same client id (0x8E, MQTT 5.0 section 3.14.2.1)."""


class Backoff:
    """Says how long to wait. Only a connection that lasts ends the growth of the bound: a broker that accepts and then
    kicks is not hammered.

    Two clients with one client id throw each other out. MQTT 5 has a word for it, which not every broker says
    (Mosquitto 2.0.11 does not), and 3.1.1 has none: there the sign is a row of connections that are accepted and closed
    soon after. Whoever notices waits between half of the longest wait and all of it, so that the other one can serve
    meanwhile. A single restart or failover is not such a row.
    """

    def __init__(self, max_s: float) -> None:
        self._max_s = max_s
        self._bound_s = min(FIRST_S, max_s)
        self._short_lives = 0
        self._shared = False
        self._accepted: float | None = None

    def accepted(self, now: float) -> None:
        """The broker has accepted a connection."""
        self._accepted = now

    def ended(self, how: End, now: float) -> float:
        """A connection or an attempt has ended; returns the seconds to wait before the next one."""
        lasted, self._accepted = self._lasted(now), None
        if lasted:
            self._bound_s = min(FIRST_S, self._max_s)
            self._short_lives, self._shared = 0, False
        if how is End.CLOSED:
            self._short_lives += not lasted
        self._shared = self._shared or how is End.TAKEN_OVER or self._short_lives >= _SHORT_LIVES
        if self._shared and how is not End.FAILED:
            return random.uniform(self._max_s / 2, self._max_s)
        bound_s, self._bound_s = self._bound_s, min(self._bound_s * 2, self._max_s)
        return random.uniform(0.0, bound_s)

    def is_stable(self, now: float) -> bool:
        """Whether there is a connection, and it has lasted for long enough to count on it."""
        return self._accepted is not None and self._lasted(now)

    def is_shared(self, now: float) -> bool:
        """Whether another client seems to use this client id."""
        return self._shared and not self._lasted(now)

    def _lasted(self, now: float) -> bool:
        # Two that wait for each other live for up to the longest wait: that is no peace yet.
        enough_s = max(STABLE_S, 2 * self._max_s) if self._shared else STABLE_S
        return self._accepted is not None and now - self._accepted >= enough_s
