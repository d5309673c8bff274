"""Bounds the QoS 1 inputs that were taken and not acknowledged yet, where the broker does not.

MQTT 5 has the Receive Maximum for that. In 3.1.1 most brokers keep a window of their own (Mosquitto: 20), some none.
"""

MOST_MESSAGES = 16_384
"""Mosquitto 2.0 sends all that waits when a session goes on, whatever the Receive Maximum: what is left out it sends
again, and each time all of it."""
MOST_BYTES = 256 << 20


class ReceiveWindow:
    """Beyond the bounds nothing more is taken on this connection, also not when there is room again: what was left out
    and what came behind it arrive once more, in their order, when the session goes on with the next connection.
    """

    def __init__(self, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES) -> None:
        self._most_messages, self._most_bytes = most_messages, most_bytes
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self.left_out = 0

    def take(self, number: int, size: int) -> bool:
        """Hold message ``number`` of ``size`` bytes; ``False`` if it is left out."""
        if self.left_out or len(self._sizes) >= self._most_messages or self._is_too_much(size):
            self.left_out += 1
            return False
        self._bytes += size - self._sizes.get(number, 0)
        self._sizes[number] = size
        return True

    def release(self, number: int) -> bool:
        """Message ``number`` is acknowledged; ``True`` if that was the last one, and others were left out."""
        self._bytes -= self._sizes.pop(number, 0)
        return bool(self.left_out) and not self._sizes

    def _is_too_much(self, size: int) -> bool:
        return bool(self._sizes) and self._bytes + size > self._most_bytes
