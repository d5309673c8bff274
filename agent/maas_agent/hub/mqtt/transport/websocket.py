"""Carries MQTT over a WebSocket (MQTT 5.0 section 6), as the client of RFC 6455.

paho has one too, which does not do here: it answers a ping with an unmasked frame, over which a server must close
(section 5.1), gathers a whole frame of any length in memory, and masks byte by byte.

wsproto (bytes in, events out, a wheel of pure Python for every machine) was measured for framing. With h11, which it
imports for a handshake that is told better here, it costs the hub 2.4 MiB and 40 ms or more at the start, where this
module costs 0.2 MiB and 0.4 ms (wsproto 1.3.2, Python 3.11 on x86-64), and a small message 7 µs in place of 2.
"""

import base64
import contextlib
import hashlib
import os
import socket
import ssl

from maas_agent.network.addresses import shown

_MAX_HEADER = 1 << 14
_READ_BYTES = 1 << 16
_FRAME_BYTES = 1 << 16
_MOST_WAITING = 2 * _FRAME_BYTES
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class RefusedError(ConnectionError):
    """The server did not switch to the WebSocket protocol; the text says what it answered instead."""


class WebSocket:
    """An open WebSocket over a TCP or TLS ``connection``; ``received`` is what came behind the server's handshake."""

    def __init__(self, connection: socket.socket, received: bytes = b"") -> None:
        self._connection = connection
        self._received = bytearray(received)
        self._payload_left = 0
        self._ended = False
        self._outgoing = bytearray()
        self._accepted = 0

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes, of as many frames as are there; ``b""`` at the end.

        Raises ``BlockingIOError`` (or its like in TLS) if there is nothing yet, ``ConnectionError`` over a bad frame.
        """
        data = self._take(size)
        while not data and not self._ended:
            chunk = self._connection.recv(_READ_BYTES)
            if not chunk:
                return b""
            self._received += chunk
            data = self._take(size)
        return bytes(data)

    def send(self, data: bytes | bytearray) -> int:
        """Send the beginning of ``data`` as one frame; returns its length.

        When it raises ``BlockingIOError`` (or its like in TLS), as with TLS the same beginning must be given again.
        """
        if not self._accepted:
            self._flush()
            piece = bytes(data[:_FRAME_BYTES])
            self._outgoing += _frame(_BINARY, piece)
            self._accepted = len(piece)
        self._flush()
        sent, self._accepted = self._accepted, 0
        return sent

    def close(self) -> None:
        """Say goodbye if there is room for it, and close."""
        with contextlib.suppress(OSError):
            if not self._ended:
                self._outgoing += _frame(_CLOSE, (1000).to_bytes(2, "big"))
            self._flush()
        self._connection.close()

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._connection.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """How long a call may wait: 0 not at all, ``None`` for ever."""
        self._connection.settimeout(seconds)

    def _flush(self) -> None:
        while self._outgoing:
            del self._outgoing[: self._connection.send(self._outgoing)]

    def _take(self, size: int) -> bytearray:
        """Payload of the frames that are there; what belongs to control frames is dealt with."""
        data = bytearray()
        while len(data) < size and not self._ended:
            if self._payload_left:
                piece = self._received[: min(self._payload_left, size - len(data))]
                if not piece:
                    break
                data += piece
                del self._received[: len(piece)]
                self._payload_left -= len(piece)
            elif not self._begin_frame():
                break
        return data

    def _begin_frame(self) -> bool:
        """Read the head of a frame (section 5.2), or all of a control frame; ``False`` if it is not all there."""
        received = self._received
        if len(received) < 2:
            return False
        opcode, length, head = received[0] & 0x0F, received[1], 2
        if received[0] & 0x70 or length & 0x80 or opcode not in (_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG):
            raise ConnectionError("the server sent what is no WebSocket frame for MQTT")
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(received[2:head], "big")
        if opcode >= _CLOSE and (head > 2 or not received[0] & 0x80):
            raise ConnectionError("the server sent a WebSocket control frame that is none")
        if len(received) < head + (length if opcode >= _CLOSE else 0):
            return False
        if opcode >= _CLOSE:
            self._control(opcode, bytes(received[head : head + length]))
            head += length
        else:
            self._payload_left = length
        del received[:head]
        return True

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PONG:
            return
        if len(self._outgoing) < _MOST_WAITING:  # a storm of pings need not be answered one by one (section 5.5.3)
            self._outgoing += _frame(_CLOSE if opcode == _CLOSE else _PONG, payload)
        self._ended = opcode == _CLOSE
        with contextlib.suppress(*_WAIT):
            self._flush()


def shake_hands(connection: socket.socket, host: str, port: int, path: str) -> WebSocket:
    """Ask for a WebSocket with the subprotocol ``mqtt`` (section 4.1); waits as ``connection`` does.

    Raises `RefusedError`, and what ``connection`` does.
    """
    key = base64.b64encode(os.urandom(16))
    name = f"[{host}]" if ":" in host else host
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    received = bytearray()
    try:
        connection.sendall(request.encode())
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(_READ_BYTES)
            if not chunk:
                raise RefusedError("it hung up")
            received += chunk
            if len(received) > _MAX_HEADER and b"\r\n\r\n" not in received:
                raise RefusedError("its answer has no end")
    except ConnectionResetError:
        raise RefusedError("it hung up") from None
    head, _, rest = received.partition(b"\r\n\r\n")
    _check(head.decode("latin-1"), key)
    return WebSocket(connection, bytes(rest))


def _check(head: str, key: bytes) -> None:
    status, *lines = head.split("\r\n")
    version, _, answer = status.partition(" ")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not version.startswith("HTTP/") or not answer.startswith("101"):
        raise RefusedError(f"it answers {status[:100]!r}{_instead(answer, fields)}")
    expected = base64.b64encode(hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest()).decode()
    if fields.get("upgrade", "").lower() != "websocket" or fields.get("sec-websocket-accept") != expected:
        raise RefusedError("it answers as if it knew WebSockets, and does not")
    if fields.get("sec-websocket-protocol") != "mqtt":
        raise RefusedError("it has WebSockets there, but not for MQTT")


def _instead(answer: str, fields: dict[str, str]) -> str:
    """Who may have answered, where it is not what a broker would say."""
    if answer.startswith("511") or (answer[:1] == "3" and "location" in fields):
        to = f", and leads to {shown(fields['location'])[:200]!r}" if "location" in fields else ""
        return f"{to}: perhaps the login page of a network (captive portal)"
    is_page = answer.startswith("200") and "html" in fields.get("content-type", "").lower()
    return " with a web page: perhaps the login page of a network (captive portal)" if is_page else ""


def _frame(opcode: int, payload: bytes) -> bytes:
    """One masked frame (section 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    mask = os.urandom(4)
    pattern = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(length, "big")
    return head + mask + masked
