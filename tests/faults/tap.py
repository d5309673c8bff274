"""Reads along on the agent's connections: which input it took and when, which result the broker acknowledged.

Both sides of an account are promises in MQTT: an input that the agent has acknowledged is the agent's to answer, and a
result that the broker has acknowledged is the broker's to deliver. Section numbers are those of MQTT 5.0; what is read
here is the same in 3.1.1.
"""

import time
from collections import defaultdict
from collections.abc import Iterator

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
_QOS = 0x06
_REFUSED = 0x80


class Packets:
    """Takes packets out of one direction of a connection, however its bytes come."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """First byte and body of each packet that is complete now."""
        self._received += data
        while (located := self._locate()) is not None:
            begin, end = located
            packet = self._received[0], bytes(self._received[begin:end])
            del self._received[:end]
            yield packet

    def _locate(self) -> tuple[int, int] | None:
        """Where the first packet's body begins and ends (section 2.1.4); nothing while it is not all here."""
        size = 0
        for place, byte in enumerate(self._received[1:5]):
            size |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                end = place + 2 + size
                return (place + 2, end) if end <= len(self._received) else None
        return None


class Record:
    """What was seen on all connections of the agent; times on the monotonic clock, by the id of the input."""

    def __init__(self) -> None:
        self.offered: dict[str, list[float]] = defaultdict(list)
        """The broker sent the input to the agent."""
        self.taken: dict[str, float] = {}
        """The agent acknowledged the input first."""
        self.reported: dict[str, list[float]] = defaultdict(list)
        """The agent sent a result."""
        self.settled: dict[str, float] = {}
        """The broker acknowledged a result first."""
        self.connections = self.subscriptions = 0
        """CONNACKs and SUBACKs that the broker sent."""


class Tap:
    """Reads one connection along, and enters it in ``record``."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._up, self._down = Packets(), Packets()
        self._inputs: dict[bytes, str] = {}
        self._results: dict[bytes, str] = {}

    def up(self, data: bytes) -> None:
        """What the agent has sent."""
        for first, body in self._up.feed(data):
            if first >> 4 == PUBLISH:
                number, result = _published(first, body, b"/out/")
                if result:
                    self._results[number] = result
                    self._record.reported[result].append(time.monotonic())
            elif first >> 4 == PUBACK and (taken := self._inputs.pop(body[:2], None)):
                self._record.taken.setdefault(taken, time.monotonic())

    def down(self, data: bytes) -> bool:
        """What the broker has sent; whether a CONNACK is in it."""
        connected = False
        for first, body in self._down.feed(data):
            if first >> 4 == PUBLISH:
                number, sent = _published(first, body, b"/in/")
                if sent:
                    self._inputs[number] = sent
                    self._record.offered[sent].append(time.monotonic())
            elif first >> 4 == PUBACK and (settled := self._results.pop(body[:2], None)):
                # A reason code of 0x80 or more says that it did not take the result (section 3.4.2.1).
                if len(body) < 3 or body[2] < _REFUSED:
                    self._record.settled.setdefault(settled, time.monotonic())
            elif first >> 4 == SUBACK:
                self._record.subscriptions += 1
            elif first >> 4 == CONNACK:
                self._record.connections += 1
                connected = True
        return connected


def _published(first: int, body: bytes, level: bytes) -> tuple[bytes, str]:
    """Packet identifier, and the id behind ``level`` in the topic, of a PUBLISH of QoS 1 (section 3.3.2)."""
    end = 2 + int.from_bytes(body[:2], "big")
    _, found, id_ = body[2:end].rpartition(level)
    return (body[end : end + 2], id_.decode()) if found and first & _QOS else (b"", "")
