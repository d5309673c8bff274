"""Watches whether the broker is there, by all that is sent and received and not only by what paho sees of it.

All times are in seconds on the monotonic clock. A connection on which the broker has gone silent is found 1.25
keepalive intervals after its last sign of life; the broker gives up this device after 1.5 (MQTT 5.0 section 3.1.2.10).
"""

from enum import Enum, auto

_QUIET = 0.75
"""Part of the interval in which nothing was heard, or nothing said, before the broker is asked."""
_PATIENCE = 0.5
"""Part of the interval in which it has to answer."""
_MUCH = 1 << 16
"""Bytes that take a slow line longer than it takes to answer."""


class Due(Enum):
    """What is to be done now."""

    NOTHING = auto()
    ASK = auto()
    GIVE_UP = auto()


class Keepalive:
    """Knows when a PINGREQ is due and when it has gone unanswered.

    ``interval_s`` is what CONNECT says; a ``server_s`` above 0 (Server Keep Alive, section 3.2.2.3.14) may only shorten
    it: that is how often the broker wants to hear something, and no reason to find a half-open connection later.
    """

    def __init__(self, interval_s: float, server_s: float, now: float) -> None:
        self.interval_s = min(interval_s, server_s) if server_s > 0 else interval_s
        self._heard = self._said = now
        self._asked: float | None = None
        self._backlog = 0

    def heard(self, now: float) -> None:
        """The broker has sent something."""
        self._heard = now
        self._asked = None

    def said(self, now: float) -> None:
        """Something was sent."""
        self._said = now

    def asked(self, now: float, backlog: int) -> None:
        """A PINGREQ was sent, behind ``backlog`` bytes that the broker's machine has not acknowledged."""
        self._asked = self._said = now
        self._backlog = backlog

    def due(self, now: float, backlog: int) -> Due:
        """What is to be done at ``now``: nothing is given up that was not asked first, however late it is.

        On a slow line the question waits behind what was sent before: as long as that shrinks, somebody takes it.
        """
        if now < self._next:
            return Due.NOTHING
        if self._asked is None:
            return Due.ASK
        if self._backlog > _MUCH and backlog < self._backlog:
            self._asked, self._backlog = now, backlog
            return Due.NOTHING
        return Due.GIVE_UP

    def next_s(self, now: float) -> float:
        """Seconds until something may be due, if nothing is heard or said meanwhile."""
        return max(0.0, self._next - now)

    @property
    def _next(self) -> float:
        if self._asked is not None:
            return self._asked + _PATIENCE * self.interval_s
        return min(self._heard, self._said) + _QUIET * self.interval_s
