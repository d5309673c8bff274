"""Learns how large a packet may be for a broker that only ends the connection over a larger one.

MQTT 3.1.1 has no Maximum Packet Size, and not every MQTT 5 broker announces its own. A QoS 1 message that is too large
would be sent again on each connection and end it, for ever.
"""

SUSPECT = 1 << 15
"""Bytes of a packet that a broker may end a connection over; no broker for devices takes less."""
_MOST_ENDS = 4
"""Connections in a row that such a packet may end before it is its size that is blamed."""
_FORGET_S = 3600.0
"""So long after it was learned it is tried again: somebody may have raised the limit."""


class TooLargeError(Exception):
    """A message of ``size`` bytes was not sent: the broker takes ``most``."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"the message has {size} bytes, and the broker takes {most}")
        self.size, self.most = size, most


class PacketLimit:
    """Learns from the connections to a broker, one after the other. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._learned: int | None = None
        self._learned_at = 0.0
        self._suspect = self._ends = self._largest_taken = 0

    def within(self, announced: int, now: float) -> int:
        """Bytes that a packet may have, on a connection whose broker announces ``announced``."""
        if self._learned is not None and now - self._learned_at > _FORGET_S:
            self._learned = None
        return announced if self._learned is None else min(announced, self._learned)

    def taken(self, size: int) -> None:
        """The broker has acknowledged a packet of this size: one of these was not to blame."""
        self._largest_taken = max(self._largest_taken, size)
        if self._ends and size >= self._suspect:
            self._ends = 0

    def ended(self, largest: int, now: float, *, told: bool) -> int | None:
        """The broker has ended a connection on which it took other packets, but not one of ``largest`` bytes.

        ``told``: it has said why. Returns what a packet may have from now on, if this was once too often.
        """
        if largest < SUSPECT:
            return None
        self._suspect = largest if not self._ends else min(largest, self._suspect)
        self._ends += 1
        if not told and self._ends < _MOST_ENDS:
            return None
        self._ends = 0
        # Results of one model hardly differ in size: the next one, a few bytes shorter, is to end no connection.
        well_below = max(self._suspect - self._suspect // 16, self._largest_taken)
        self._learned, self._learned_at = min(self._suspect - 1, well_below), now
        return self._learned
