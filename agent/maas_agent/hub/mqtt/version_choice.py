"""Chooses the MQTT version: the one that is configured, or the one that the broker is found to understand."""

from maas_agent.hub.mqtt.client import V5, V311

_MAX_SILENCES = 5
_OTHER_EVERY = 4
"""Beyond those silences every so many attempts speak the other version."""


class VersionChoice:
    """Chooses the version of the next attempt. ``configured`` is ``auto``, ``3.1.1`` or ``5``.

    With ``auto`` a broker that ends the talk before it began is spoken to in the other version next. A version that has
    worked is given up only when it has failed for a while, and then every fourth time: a broker that is just starting,
    and a network that is away, break connections too.
    """

    def __init__(self, configured: str) -> None:
        self._is_auto = configured == "auto"
        self.current = V311 if configured == "3.1.1" else V5
        self._is_known = self._spoke_v5 = self._understood = False
        self._silences = 0

    @property
    def is_guess(self) -> bool:
        """Whether it may be the wrong one: amqtt is silent to a version 5 CONNECT."""
        return self._is_auto and not self._is_known

    def attempt(self) -> None:
        """CONNECT is about to be said."""
        self._understood = False

    def accepted(self) -> None:
        """The broker has accepted the connection."""
        self._is_known = True
        self._spoke_v5 |= self.current == V5
        self._silences = 0

    def refused(self, *, speaks_other: bool) -> None:
        """The broker has refused the connection, in words; ``speaks_other``: because of the version."""
        self._understood = not speaks_other
        if speaks_other:  # what was spoken before, perhaps with another broker, does not count
            self._is_known = self._spoke_v5 = False

    def ended(self, *, was_accepted: bool, in_tls: bool) -> None:
        """The connection, or the attempt, is over; ``in_tls``: it ended before a version was spoken."""
        if was_accepted:
            if self._spoke_v5 and self._is_auto:
                self.current = V5  # 3.1.1 was but a guess, when nobody answered
        elif not self._understood and not in_tls:
            self._fall_back()

    def _fall_back(self) -> None:
        self._silences += 1
        if not self._is_auto:
            return
        if not self._is_known:
            self.current = V311 if self.current == V5 else V5
        elif self._silences > _MAX_SILENCES:
            usual, other = (V5, V311) if self._spoke_v5 else (V311, V5)
            self.current = other if self._silences % _OTHER_EVERY == 0 else usual
