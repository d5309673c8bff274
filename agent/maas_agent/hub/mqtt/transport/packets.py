"""Stands between the socket and paho: reads and writes in large pieces, and takes the data packets out.

`next_packet` yields PUBLISH and PUBACK decoded, and leaves every other packet for paho to `recv`. A PUBLISH that is too
large is never gathered in memory: its payload is discarded as it arrives, and it is yielded without one, so that its
sender can be answered. What is sent waits for `flush`: one system call a turn.
"""

import contextlib
import fcntl
import select
import socket
import ssl
import sys
import termios
import time
from typing import Protocol

from maas_agent.hub.mqtt.transport.wire import (
    PUBACK,
    PUBLISH,
    Malformed,
    Puback,
    Publish,
    decode_puback,
    decode_publish,
    head_length,
    variable_integer,
)

_READ_BYTES = 1 << 16
_READS_A_TURN = 8
MAX_OUTGOING = 8 << 20
_MAX_HEAD = 1 << 17
"""Topic and properties of a PUBLISH that is cut; with more than this, its properties are cut off too."""


class Transport(Protocol):
    """A TCP, TLS or WebSocket connection."""

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

    def settimeout(self, seconds: float | None, /) -> None:
        """How long a call may wait: 0 not at all, ``None`` for ever."""
        ...


class ForPaho:
    """A packet that is left for paho to read."""


FOR_PAHO = ForPaho()
Packet = Publish | Puback | ForPaho


class PacketSocket:
    """Wraps a connected `Transport`; implements what paho asks of a socket."""

    def __init__(self, transport: Transport, max_packet_bytes: int, *, has_properties: bool) -> None:
        self._transport = transport
        self._descriptor = transport.fileno()
        self._is_plain = type(transport) is socket.socket
        self._max = max_packet_bytes
        self._has_properties = has_properties
        self._received = bytearray()
        self._position = 0
        self._discard = 0
        self._paho_end = 0
        self._closed_by_peer = False
        self.failure: OSError | None = None
        """What the transport ended with, if it did not just end."""
        self._outgoing = bytearray()
        self._patience_s = 0.0

    # ------------------------------------------------------------- towards the kernel

    def fill(self) -> bool:
        """Read what has arrived; ``True`` if there may be more, as with bytes decrypted but not delivered."""
        del self._received[: self._position]
        self._position = self._paho_end = 0
        for _ in range(_READS_A_TURN):
            try:
                chunk = self._transport.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError as error:
                self.failure = error
                chunk = b""
            if not chunk:
                self._closed_by_peer = True
                return False
            self._received += chunk
            if self._discard:
                self._drop()
            if len(chunk) < _READ_BYTES and self._is_plain:
                return False  # the kernel has no more: spare the call that would say so
        return True

    @property
    def waiting_bytes(self) -> int:
        """What was written and not sent."""
        return len(self._outgoing)

    @property
    def backlog(self) -> int:
        """What was written and is not on the peer's machine yet: here, and in the kernel (``SIOCOUTQ``, tcp(7))."""
        try:
            queued = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, bytes(4))
        except OSError:  # not TCP, or gone
            queued = bytes(4)
        return len(self._outgoing) + int.from_bytes(queued, sys.byteorder)

    @property
    def at_end(self) -> bool:
        """After `FOR_PAHO`: whether it stands for the end of the stream, and not for a packet."""
        return self._closed_by_peer and self._position >= self._paho_end

    @property
    def failed_in_tls(self) -> bool:
        """Whether it was TLS that ended the stream, as with an alert over a certificate."""
        return isinstance(self.failure, ssl.SSLError)

    def flush(self) -> bool:
        """Send what was written; ``False`` if some of it remains. Raises ``OSError`` if the peer is gone."""
        while self._outgoing:
            try:
                sent = self._transport.send(self._outgoing)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._outgoing[:sent]
        return True

    # ------------------------------------------------------------- towards the link

    def next_packet(self) -> Packet | None:
        """The next whole packet, or ``None`` until more has arrived; raises `Malformed`.

        After `FOR_PAHO` paho must read, before this is called again.
        """
        if self._closed_by_peer and self._position >= len(self._received):
            return FOR_PAHO  # paho reads the end of the stream, and says so
        received, start = self._received, self._position
        remaining = variable_integer(received, start + 1)
        if remaining is None:
            return FOR_PAHO if self._closed_by_peer else None
        first, body = received[start], start + 1 + remaining[1]
        if remaining[0] > self._max:
            cut = self._cut(first, body, remaining[0])
            return FOR_PAHO if cut is None and self._closed_by_peer else cut
        end = body + remaining[0]
        if len(received) < end:
            return FOR_PAHO if self._closed_by_peer else None
        if first & 0xF0 == PUBLISH:
            self._position = end
            return decode_publish(received, body, end, first & 0x0F, has_properties=self._has_properties)
        if first & 0xF0 == PUBACK:
            self._position = end
            return decode_puback(received, body, end)
        self._paho_end = end
        return FOR_PAHO

    def write(self, packet: bytes) -> None:
        """Queue a packet behind what paho has written."""
        self._outgoing += packet

    # ------------------------------------------------------------- towards paho

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes of the packet that is left for paho; raises ``BlockingIOError`` if there is none."""
        end = min(self._position + size, self._paho_end)
        if end > self._position:
            piece = bytes(self._received[self._position : end])
            self._position = end
            return piece
        if self._closed_by_peer:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Take ``data``; it goes out with the next `flush`. Raises ``BlockingIOError`` while too much waits."""
        if len(self._outgoing) > MAX_OUTGOING:
            raise BlockingIOError
        self._outgoing += data
        return len(data)

    def close(self) -> None:
        """Send what is left if the peer takes it at once, wait for the peer if that was asked for, then close."""
        with contextlib.suppress(OSError):  # the peer is gone, and what was left with it
            self.flush()
            self._wait_for_the_peer()
        self._transport.close()

    def close_after_peer(self, seconds: float) -> None:
        """Let `close` wait for the peer to close first, for at most so long.

        A socket that is closed while something it has received was not read resets the connection (RFC 2525 section
        2.17), and the peer may not read any more what was sent last: acknowledgements, a farewell, the DISCONNECT.
        """
        self._patience_s = seconds

    def _wait_for_the_peer(self) -> None:
        """Read, and forget, until it closes."""
        ends_at = time.monotonic() + self._patience_s
        readable = select.poll()
        readable.register(self._descriptor, select.POLLIN)
        self._transport.settimeout(0.0)
        while (left_s := ends_at - time.monotonic()) > 0:
            try:
                if not self._transport.recv(_READ_BYTES):
                    return
            except (BlockingIOError, ssl.SSLWantReadError):
                readable.poll(left_s * 1000)

    def fileno(self) -> int:
        """The transport's descriptor; the same after paho has closed it, so that it can be forgotten."""
        return self._descriptor

    def setblocking(self, flag: bool) -> None:
        """Switch waiting on or off."""
        self._transport.settimeout(None if flag else 0.0)

    def settimeout(self, seconds: float) -> None:
        """Wait for at most so long from now on."""
        self._transport.settimeout(seconds)

    # ------------------------------------------------------------- packets that are too large

    def _cut(self, first: int, body: int, remaining: int) -> Publish | None:
        if first & 0xF0 != PUBLISH:
            raise Malformed(f"a packet of {remaining} bytes that is no PUBLISH")
        head, has_properties = self._head(first, body, remaining)
        if head is not None and head > remaining:
            raise Malformed("a PUBLISH contradicts itself")
        if head is None or len(self._received) < body + head:
            return None
        packet = decode_publish(
            self._received, body, body + head, first & 0x0F, has_properties=has_properties, cut_bytes=remaining
        )
        self._position = body + head
        self._discard = remaining - head
        self._drop()
        return packet

    def _head(self, first: int, body: int, remaining: int) -> tuple[int | None, bool]:
        """Length of what is kept of a PUBLISH, and whether its properties are: not where they make it large."""
        received, flags = self._received, first & 0x0F
        whole = head_length(received, body, flags, has_properties=self._has_properties)
        if whole is None or not self._has_properties or whole <= _MAX_HEAD or whole > remaining:
            return whole, self._has_properties
        return head_length(received, body, flags, has_properties=False), False

    def _drop(self) -> None:
        dropped = min(self._discard, len(self._received) - self._position)
        del self._received[self._position : self._position + dropped]
        self._discard -= dropped
