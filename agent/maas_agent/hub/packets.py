"""A socket for paho that reads and writes in large pieces, and cuts packets that are too large to keep.

paho reads a packet's header byte by byte and sends each packet by itself; here both become memory copies, and the
kernel is asked once a turn. And paho would gather a PUBLISH of 256 MB in memory before anyone could refuse it: here its
payload is discarded as it arrives and paho gets the packet with an empty one, so that the sender can be answered.

Packet layout: MQTT 5.0 sections 2.1 (fixed header) and 3.3 (PUBLISH); 3.1.1 differs only in having no properties.
"""

import contextlib
import ssl
from typing import Protocol

_PUBLISH = 0x30
_READ_BYTES = 1 << 17
_READS_A_TURN = 8
_MAX_OUTGOING = 8 << 20
_MAX_HEAD = 1 << 17
"""Topic and properties of a PUBLISH that is cut; more than this is a broken peer."""


class Transport(Protocol):
    """What paho opens: a TCP, TLS or WebSocket connection."""

    def recv(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes."""
        ...

    def send(self, data: bytes | bytearray, /) -> int:
        """Write some of ``data``."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def fileno(self) -> int:
        """Its descriptor."""
        ...

    def setblocking(self, flag: bool, /) -> None:
        """Switch waiting on or off."""
        ...


class PacketSocket:
    """Wraps a connected `Transport`; implements what paho asks of a socket."""

    def __init__(self, transport: Transport, max_packet_bytes: int, properties: bool) -> None:
        self._transport = transport
        self._max = max_packet_bytes
        self._has_properties = properties
        self._received = bytearray()
        self._position = 0
        self._packet_left = 0
        self._discard = 0
        self._ready = b""
        self._closed_by_peer = False
        self._starved = True
        self._outgoing = bytearray()
        self.cut_bytes = 0
        """Size of the packet that paho is reading now if its payload was cut, else 0."""

    # ------------------------------------------------------------- towards the kernel

    def fill(self) -> bool:
        """Read what has arrived; ``True`` if there may be more, as with bytes decrypted but not delivered."""
        del self._received[: self._position]
        self._position = 0
        self._starved = False
        for _ in range(_READS_A_TURN):
            try:
                chunk = self._transport.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError:
                chunk = b""
            if not chunk:
                self._closed_by_peer = True
                return False
            self._received += chunk
            if self._discard:
                self._drop()
        return True

    def flush(self) -> bool:
        """Send what paho wrote; ``False`` if some of it remains. Raises ``OSError`` if the peer is gone."""
        while self._outgoing:
            try:
                sent = self._transport.send(self._outgoing)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._outgoing[:sent]
        return True

    @property
    def readable(self) -> bool:
        """Whether paho may get something from `recv`: until it has asked in vain."""
        return not self._starved

    # ------------------------------------------------------------- towards paho

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes of the current packet; raises ``BlockingIOError`` if none are there."""
        if self._ready:
            piece, self._ready = self._ready[:size], self._ready[size:]
            return piece
        if not self._packet_left:
            self._next_packet()
            if self._ready:
                return self.recv(size)
        end = min(self._position + min(size, self._packet_left), len(self._received))
        if end == self._position:
            return self._nothing()
        piece = bytes(self._received[self._position : end])
        self._packet_left -= end - self._position
        self._position = end
        return piece

    def send(self, data: bytes | bytearray) -> int:
        """Take ``data``; it goes out with the next `flush`. Raises ``BlockingIOError`` while too much waits."""
        if len(self._outgoing) > _MAX_OUTGOING:
            raise BlockingIOError
        self._outgoing += data
        return len(data)

    def close(self) -> None:
        """Send what is left if the peer takes it at once, then close."""
        with contextlib.suppress(OSError):  # the peer is gone, and what was left with it
            self.flush()
        self._transport.close()

    def fileno(self) -> int:
        """The transport's descriptor."""
        return self._transport.fileno()

    def setblocking(self, flag: bool) -> None:
        """Switch waiting on or off."""
        self._transport.setblocking(flag)

    # ------------------------------------------------------------- packets

    def _next_packet(self) -> None:
        """Begin the next packet: find its length, and cut it if it is too large."""
        self.cut_bytes = 0
        header = self._header()
        if header is None:
            return
        header_bytes, remaining = header
        if remaining <= self._max:
            self._packet_left = header_bytes + remaining
            return
        if self._received[self._position] & 0xF0 != _PUBLISH:
            raise ConnectionAbortedError(f"the broker sent a packet of {remaining} bytes that is no PUBLISH")
        self._cut(header_bytes, remaining)

    def _header(self) -> tuple[int, int] | None:
        """Bytes of the fixed header and the remaining length after it; ``None`` while it is incomplete."""
        remaining = _variable_integer(self._received, self._position + 1)
        return None if remaining is None else (1 + remaining[1], remaining[0])

    def _cut(self, header_bytes: int, remaining: int) -> None:
        start = self._position + header_bytes
        head = self._head_bytes(start)
        if head is None or len(self._received) < start + head:
            if len(self._received) - start > _MAX_HEAD:
                raise ConnectionAbortedError("the broker sent a PUBLISH whose topic and properties have no end")
            return
        first = bytes(self._received[self._position : self._position + 1])
        self._ready = first + _as_variable_integer(head) + bytes(self._received[start : start + head])
        self.cut_bytes = remaining
        self._position = start + head
        self._discard = remaining - head
        self._drop()

    def _head_bytes(self, start: int) -> int | None:
        """Length of topic, packet identifier and properties of the PUBLISH that begins at ``start``."""
        if len(self._received) < start + 2:
            return None
        head = 2 + int.from_bytes(self._received[start : start + 2], "big")
        if self._received[self._position] & 0x06:
            head += 2
        if self._has_properties:
            properties = _variable_integer(self._received, start + head)
            if properties is None:
                return None
            head += properties[1] + properties[0]
        return head

    def _drop(self) -> None:
        dropped = min(self._discard, len(self._received) - self._position)
        del self._received[self._position : self._position + dropped]
        self._discard -= dropped

    def _nothing(self) -> bytes:
        if self._closed_by_peer:
            return b""
        self._starved = True
        raise BlockingIOError


def _variable_integer(data: bytearray, start: int) -> tuple[int, int] | None:
    """Value and length of a Variable Byte Integer (MQTT 5.0 section 1.5.5); ``None`` while it is incomplete."""
    value = 0
    for index in range(4):
        if start + index >= len(data):
            return None
        byte = data[start + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, index + 1
    raise ConnectionAbortedError("the broker sent a malformed packet length")


def _as_variable_integer(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)
