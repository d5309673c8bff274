"""MQTT 3.1.1 by hand: just enough of it to load a broker without being what is measured.

A client library spends 30 to 100 us of Python on a message; these functions spend a few. References in square
brackets are to the OASIS standard, MQTT Version 3.1.1.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

CONNACK, PUBLISH, PUBACK, SUBACK = 0x20, 0x30, 0x40, 0x90  # packet types, in the header's upper four bits
QOS1 = 0x02  # in the header of a PUBLISH [3.3.1.2]
_CHUNK = 1 << 18  # bytes asked of the kernel at once: a full window of answers fits
_CONNECT_S = 5.0


class WireError(Exception):
    """The broker refused something, closed the connection or stayed silent."""


def _length(size: int) -> bytes:
    """Encode the remaining length: seven bits a byte, least significant first [2.2.3]."""
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _packet(header: int, body: bytes) -> bytes:
    return bytes((header,)) + _length(len(body)) + body


def connect(client_id: str) -> bytes:
    """Return a CONNECT with a clean session and no keep-alive."""
    return _packet(0x10, _text("MQTT") + b"\x04\x02\x00\x00" + _text(client_id))


def subscribe(topic_filter: str, qos: int) -> bytes:
    """Return a SUBSCRIBE to one filter, with packet identifier 1."""
    return _packet(0x82, b"\x00\x01" + _text(topic_filter) + bytes((qos,)))


def puback(packet_id: bytes) -> bytes:
    """Return the PUBACK of a packet identifier (two bytes, as received)."""
    return b"\x40\x02" + packet_id


def publish(topic: bytes, payload: bytes, packet_id: bytes = b"") -> bytes:
    """Return a PUBLISH: QoS 1 where it has a packet identifier (two bytes), QoS 0 where not."""
    body = len(topic).to_bytes(2, "big") + topic + packet_id + payload
    return _packet(PUBLISH | QOS1 if packet_id else PUBLISH, body)


def published(header: int, body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the topic, packet identifier (empty at QoS 0) and payload of a received PUBLISH."""
    end = 2 + (body[0] << 8 | body[1])
    if header & 0x06:
        return body[2:end], body[end : end + 2], body[end + 2 :]
    return body[2:end], b"", body[end:]


class Connection:
    """A non-blocking connection to a broker that takes and gives whole packets.

    Args:
        port: TCP port on the loopback interface.
        client_id: MQTT client identifier.
        topic_filter: what to subscribe to, with ``qos``.
    """

    def __init__(self, port: int, client_id: str, topic_filter: str, qos: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S)
        # Batching is done here, in user space: Nagle's algorithm would only add delayed-ACK pauses.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._received = b""
        self._unsent = b""
        self._handshake(connect(client_id), CONNACK, granted=0)
        self._handshake(subscribe(topic_filter, qos), SUBACK, granted=qos)

    def _handshake(self, request: bytes, reply: int, granted: int) -> None:
        """Send ``request`` and await its ``reply``, whose last byte is the return code [3.2.2.3, 3.9.3]."""
        self.send(request)
        packets = self.receive(_CONNECT_S)
        if not packets:
            raise WireError(f"no packet {reply:#x} within {_CONNECT_S} s")
        header, body = packets[0]
        if header != reply or body[-1] != granted:
            raise WireError(f"packet {header:#x} with return code {body[-1]:#x} in the handshake")

    def send(self, packets: bytes) -> None:
        """Send ``packets``, or as many bytes as the kernel takes now; the rest goes with the next receive."""
        self._unsent += packets
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if self._unsent:
            self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        """Return the (header, body) of every packet that is here, after at most ``timeout_s`` of waiting."""
        events = self._poll.poll(timeout_s * 1000)
        if events and events[0][1] & select.POLLOUT:
            self._poll.modify(self._socket, select.POLLIN)
            self.send(b"")
        if not events or not events[0][1] & ~select.POLLOUT:
            return []
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise WireError("the broker closed the connection")
        self._received += chunk
        return list(self._packets())

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        """Yield the whole packets in the receive buffer; keep the part of one at its end."""
        buffer, start = self._received, 0
        while (located := _locate(buffer, start)) is not None:
            body, end = located
            yield buffer[start], buffer[body:end]
            start = end
        self._received = buffer[start:]

    def close(self) -> None:
        """Send DISCONNECT and close the socket."""
        self._socket.setblocking(True)
        self._socket.sendall(self._unsent + b"\xe0\x00")
        self._socket.close()


def _locate(buffer: bytes, start: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``start`` begins and ends, or None where it is not all here."""
    size = shift = 0
    for position in range(start + 1, min(start + 5, len(buffer))):
        byte = buffer[position]
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            end = position + 1 + size
            return (position + 1, end) if end <= len(buffer) else None
        shift += 7
    return None
