"""A WebSocket, against the frames of RFC 6455; with real servers in tests/system/test_websocket.py."""

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.hub.mqtt.transport.websocket import RefusedError, WebSocket, shake_hands


def frame(payload: bytes, opcode: int = 2, *, last: bool = True) -> bytes:
    """As a server sends it: unmasked."""
    length = len(payload)
    if length < 126:
        head = bytes([length])
    elif length < 1 << 16:
        head = b"\x7e" + length.to_bytes(2, "big")
    else:
        head = b"\x7f" + length.to_bytes(8, "big")
    return bytes([(0x80 if last else 0) | opcode]) + head + payload


def unframed(data: bytes) -> list[tuple[int, bytes]]:
    """The frames a client has sent; each must be masked (section 5.1)."""
    found = []
    while data:
        assert data[0] & 0x80 and data[1] & 0x80
        length, start = data[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        mask, body = data[start : start + 4], data[start + 4 : start + 4 + length]
        found.append((data[0] & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))))
        data = data[start + 4 + length :]
    return found


class Line:
    """A `WebSocket` and the server's end of it."""

    def __init__(self) -> None:
        self.server, ours = socket.socketpair()
        self.server.setblocking(False)
        ours.setblocking(False)
        self.socket = WebSocket(ours)

    def received(self, size: int = 1 << 16) -> bytes:
        """Everything there is, read in pieces of ``size``."""
        found = b""
        try:
            while piece := self.socket.recv(size):
                found += piece
        except BlockingIOError:
            pass
        return found

    def sent(self) -> list[tuple[int, bytes]]:
        return unframed(self.server.recv(1 << 20))

    def close(self) -> None:
        self.socket.close()
        self.server.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 200), max_size=10), st.integers(1, 500))
def test_payloads_come_out_in_one_stream_however_they_are_cut(
    payloads: list[bytes], cuts: list[int], size: int
) -> None:
    line = Line()
    data = b"".join(frame(payload) + frame(b"hb", 9) for payload in payloads)
    found = b""
    for cut in cuts:
        line.server.sendall(data[:cut])
        found += line.received(size)
        data = data[cut:]
    line.server.sendall(data)
    found += line.received(size)
    assert found == b"".join(payloads)
    if payloads:
        assert line.sent() == [(10, b"hb")] * len(payloads)
    line.close()


def test_a_message_in_several_frames_is_one_stream(line: Line) -> None:
    line.server.sendall(frame(b"ab", last=False) + frame(b"ping", 9) + frame(b"c", 0, last=False) + frame(b"d", 0))
    assert line.received() == b"abcd"


def test_a_frame_of_a_gigabyte_is_not_gathered(line: Line) -> None:
    line.server.sendall(b"\x82\x7f" + (1 << 30).to_bytes(8, "big"))
    for _ in range(100):
        line.server.sendall(bytes(1 << 16))
        assert len(line.received()) == 1 << 16
        assert not line.socket._received


@pytest.mark.parametrize("length", [0, 1, 125, 126, 1000, 65_535, 65_536])
def test_what_is_sent_is_masked_and_whole(line: Line, length: int) -> None:
    payload = bytes(index % 251 for index in range(length))
    if length:
        assert line.socket.send(payload) == length
        assert line.sent() == [(2, payload)]


def test_a_server_that_takes_nothing_gets_the_rest_of_the_same_frame_later(line: Line) -> None:
    """Whoever was told to wait comes again with the same beginning, and more behind it."""
    outgoing = bytearray(b"x" * (4 << 20))
    with pytest.raises(BlockingIOError):
        while True:
            del outgoing[: line.socket.send(outgoing)]
    outgoing += b"end"
    received = b""
    while outgoing:
        received += line.server.recv(1 << 20)
        try:
            del outgoing[: line.socket.send(outgoing)]
        except BlockingIOError:
            continue
    received += line.server.recv(1 << 20)
    assert b"".join(payload for _, payload in unframed(received)) == b"x" * (4 << 20) + b"end"


def test_a_close_is_answered_and_is_the_end(line: Line) -> None:
    line.server.sendall(frame(b"last") + frame(b"\x03\xe8", 8) + frame(b"never"))
    assert line.received() == b"last"
    assert line.socket.recv(10) == b""
    assert line.sent() == [(8, b"\x03\xe8")]


def test_a_storm_of_pings_is_answered_in_bounded_memory(line: Line) -> None:
    for _ in range(2000):
        line.server.sendall(frame(b"p" * 100, 9) * 20)
        assert line.received() == b""
        assert len(line.socket._outgoing) < 1 << 18


def test_closing_says_goodbye(line: Line) -> None:
    line.socket.close()
    assert line.sent() == [(8, b"\x03\xe8")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x01a",  # a text frame
        b"\xc2\x01a",  # a reserved bit without an extension
        b"\x82\x81mask\x01",  # a server must not mask
        b"\x83\x00",  # an opcode that is none
        b"\x89\x7e\x00\x80",  # a control frame longer than 125
        b"\x09\x00",  # a control frame in several
        b"HTTP/1.1",
    ],
    ids=bytes.hex,
)
def test_what_is_no_frame_ends_the_connection(line: Line, data: bytes) -> None:
    line.server.sendall(data)
    with pytest.raises(ConnectionError):
        line.received()


def answered_with(answer: str) -> WebSocket:
    """What becomes of a handshake; ``{accept}`` in the answer stands for what the key asks for."""
    ours, server = socket.socketpair()

    def serve() -> None:
        request = server.recv(1 << 16).decode()
        assert request.startswith("GET /mqtt HTTP/1.1\r\n") and "\r\nSec-WebSocket-Protocol: mqtt\r\n" in request
        key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        server.sendall(answer.replace("{accept}", base64.b64encode(digest).decode()).encode())
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return shake_hands(ours, "::1", 80, "/mqtt")
    finally:
        thread.join()


UPGRADE = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
    "sec-websocket-accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def test_what_comes_right_behind_the_handshake_is_not_lost() -> None:
    opened = answered_with(UPGRADE + "\x02")
    opened._connection.close()
    assert bytes(opened._received) == b"\x02"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "hung up"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "404 Not Found"),
        ("\x20\x02\x00\x00", "hung up"),  # a broker without WebSockets
        (UPGRADE.replace("{accept}", "bm8="), "does not"),
        (UPGRADE.replace("Protocol: mqtt", "Protocol: soap"), "not for MQTT"),
        (UPGRADE.replace("Upgrade: WebSocket\r\n", ""), "does not"),
        ("HTTP/1.1 200 " + "x" * 40_000, "no end"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://wifi.plant/login?back=h\r\n\r\n",
            r"302 Found', and leads to 'http://wifi\.plant/login\?…': perhaps the login page of a network",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "with a web page: perhaps the login page"),
        ("HTTP/1.1 511 Network Authentication Required\r\n\r\n", "511 .*captive portal"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", "200 OK'$"),
    ],
)
def test_a_server_that_does_not_switch_is_refused_with_what_it_said(answer: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        answered_with(answer)
