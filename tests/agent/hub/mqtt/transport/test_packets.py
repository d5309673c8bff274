"""The socket between broker and paho: real socketpairs, in whatever pieces bytes may come."""

import socket
import threading
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.hub.mqtt.transport.packets import ForPaho, PacketSocket
from maas_agent.hub.mqtt.transport.wire import (
    Malformed,
    Puback,
    Publish,
    encode_puback,
    encode_publish,
    packed_properties,
)

MAX = 1000
WAIT_S = 30.0
CONNACK, SUBACK, PINGRESP = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01", b"\xd0\x00"


def publish(payload: bytes, number: int = 0, *, is_v5: bool = True, content_type: str | None = None) -> bytes:
    packed = packed_properties(content_type, None) if is_v5 else None
    return encode_publish(b"in/1", payload, 1 if number else 0, False, number, packed)


class Line:
    """A `PacketSocket` and the broker's end of it; `received` is everything that has come out, in order."""

    def __init__(self, *, is_v5: bool = True, max_packet_bytes: int = MAX) -> None:
        self.broker, ours = socket.socketpair()
        self.broker.setblocking(False)
        ours.setblocking(False)
        self.packets = PacketSocket(ours, max_packet_bytes, has_properties=is_v5)
        self.received: list[Publish | Puback | bytes] = []

    def feed(self, data: bytes) -> None:
        """Send from the broker, then read as the link does. What is left for paho is read as it reads: in bits."""
        self.broker.sendall(data)
        self.turn()

    def turn(self) -> None:
        more = True
        while more:
            more = self.packets.fill()
            while (packet := self.packets.next_packet()) is not None:
                if isinstance(packet, ForPaho):
                    piece = self._all_for_paho()
                    if not piece:
                        return
                    self.received.append(piece)
                else:
                    self.received.append(packet)

    def _all_for_paho(self) -> bytes:
        found = b""
        try:
            while piece := self.packets.recv(1 + len(found) % 3):
                found += piece
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        self.broker.close()
        self.packets.close()


@pytest.fixture(params=[True, False], ids=["v5", "v3.1.1"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    line = Line(is_v5=request.param)
    yield line
    line.close()


def is_v5(line: Line) -> bool:
    return line.packets._has_properties


def traffic(*, is_v5: bool) -> tuple[bytes, list[Publish | Puback | bytes]]:
    """Packets of every kind one after the other, and what is to come of them."""
    properties = packed_properties("text/plain", None)[1:] if is_v5 else b""
    packets: list[tuple[bytes, Publish | Puback | bytes]] = [
        (CONNACK, CONNACK),
        (publish(b"one", 7, is_v5=is_v5), Publish(b"in/1", b"one", 1, False, 7, b"")),
        (PINGRESP, PINGRESP),
        (publish(bytes(200), is_v5=is_v5), Publish(b"in/1", bytes(200), 0, False, 0, b"")),
        (encode_puback(9), Puback(9)),
        (b"\x40\x04\x00\x0a\x97\x00", Puback(10, 0x97)),
        (publish(b"", 8, is_v5=is_v5, content_type="text/plain"), Publish(b"in/1", b"", 1, False, 8, properties)),
        (SUBACK, SUBACK),
        (SUBACK, SUBACK),
    ]
    return b"".join(data for data, _ in packets), [packet for _, packet in packets]


def test_many_packets_in_one_read_come_out_one_by_one(line: Line) -> None:
    data, expected = traffic(is_v5=is_v5(line))
    line.feed(data)
    assert line.received == expected


def test_packets_may_be_cut_at_every_byte(line: Line) -> None:
    data, expected = traffic(is_v5=is_v5(line))
    for cut in range(1, len(data)):
        line.feed(data[:cut])
        line.feed(data[cut:])
        assert line.received == expected
        line.received.clear()


def test_packets_may_come_byte_by_byte(line: Line) -> None:
    data, expected = traffic(is_v5=is_v5(line))
    for index in range(len(data)):
        line.feed(data[index : index + 1])
    assert line.received == expected


@given(st.lists(st.integers(1, 400), max_size=12), st.booleans())
def test_an_oversize_publish_is_cut_and_what_follows_comes_through(sizes: list[int], is_v5: bool) -> None:
    """In any pieces: its payload is gone, its topic and number are not, and nothing else is lost."""
    line = Line(is_v5=is_v5)
    huge, behind, expected = publish(b"x" * 1500, 7, is_v5=is_v5), *traffic(is_v5=is_v5)
    data = behind + huge + behind
    for size in sizes:
        line.feed(data[:size])
        data = data[size:]
    line.feed(data)
    cut = Publish(b"in/1", b"", 1, False, 7, b"", cut_bytes=len(huge) - 3)
    assert line.received == [*expected, cut, *expected]
    line.close()


def test_an_oversize_publish_is_told_as_soon_as_its_head_is_there_and_never_kept(line: Line) -> None:
    total = 200 << 20
    head = b"\x32" + b"\x80\x80\x80\x64" + b"\x00\x04in/1" + b"\x00\x07" + (b"\x00" if is_v5(line) else b"")
    line.feed(head)
    assert line.received == [Publish(b"in/1", b"", 1, False, 7, b"", cut_bytes=total)]
    rest = total - (len(head) - 5)
    sent = 0
    while sent < 8 << 20:
        line.feed(bytes(1 << 16))
        sent += 1 << 16
        assert len(line.packets._received) == 0
    assert line.packets._discard == rest - sent
    assert len(line.received) == 1


def test_a_publish_of_exactly_the_bound_is_whole(line: Line) -> None:
    overhead = len(publish(b"", 1, is_v5=is_v5(line))) - 2
    for size in (MAX - overhead, MAX - overhead + 1):
        line.feed(publish(bytes(size), 1, is_v5=is_v5(line)))
    whole, cut = line.received
    assert isinstance(whole, Publish) and isinstance(cut, Publish)
    assert (len(whole.payload), whole.cut_bytes) == (MAX - overhead, 0)
    assert (len(cut.payload), cut.cut_bytes) == (0, MAX + 1)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80\x80\x80\x80\x01",  # a length of five bytes
        b"\x30\x00",
        b"\x30\x01\x00",
        b"\x32\x03\x00\x01a",
        b"\x36\x06\x00\x01a\x00\x01\x00",
        b"\x30\x04\x00\x09ab",
        b"\x40\x00",
        b"\x40\x01\x07",
        b"\x90\xff\x7f",  # a packet for paho that is larger than any may be
        b"\xe0\xff\xff\xff\x7f",
        b"\x30\xff\x0f\xff\xff" + bytes(70_000),  # an oversize PUBLISH whose topic is longer than itself
    ],
    ids=lambda data: data[:6].hex(),
)
def test_what_is_no_packet_is_malformed(line: Line, data: bytes) -> None:
    with pytest.raises(Malformed):
        line.feed(data + bytes(10))


def test_properties_that_make_a_publish_oversize_are_cut_off_with_its_payload() -> None:
    """They are never gathered, and its number is kept: unacknowledged it would come back for ever."""
    line = Line(is_v5=True)
    head = b"\x32\xff\xff\xff\x7f" + b"\x00\x01a" + b"\x00\x07" + b"\x80\x80\x80\x60"
    line.feed(head)
    assert line.received == [Publish(b"a", b"", 1, False, 7, b"", cut_bytes=(1 << 28) - 1)]
    for _ in range(10):
        line.feed(bytes(1 << 16))
        assert len(line.packets._received) == 0
    line.close()


def test_properties_longer_than_their_oversize_publish_are_malformed() -> None:
    line = Line(is_v5=True)
    with pytest.raises(Malformed):
        line.feed(b"\x30\xff\x0f" + b"\x00\x01a" + b"\xff\xff\x7f" + bytes(3000))
    line.close()


def test_the_end_of_the_stream_is_for_paho_to_notice(line: Line) -> None:
    line.feed(PINGRESP)
    line.broker.close()
    line.turn()
    assert isinstance(line.packets.next_packet(), ForPaho)
    assert line.packets.recv(1) == b""
    assert line.received == [PINGRESP]


def test_whole_packets_before_the_end_are_delivered_and_half_of_one_is_not(line: Line) -> None:
    data, expected = traffic(is_v5=is_v5(line))
    line.broker.sendall(data + publish(b"half", 3)[:-2])
    line.broker.close()
    line.turn()
    line.turn()  # what is readable now is the end
    assert line.received == expected
    assert line.packets.recv(1) == b""


def test_paho_may_not_read_what_is_not_for_it(line: Line) -> None:
    line.broker.sendall(publish(b"x", is_v5=is_v5(line)) + SUBACK + PINGRESP)
    line.packets.fill()
    with pytest.raises(BlockingIOError):
        line.packets.recv(100)
    assert isinstance(line.packets.next_packet(), Publish)
    assert isinstance(line.packets.next_packet(), ForPaho)
    assert line.packets.recv(100) == SUBACK
    with pytest.raises(BlockingIOError):
        line.packets.recv(100)


# ----------------------------------------------------------------- writing


def test_what_is_written_goes_out_in_its_order_with_the_next_flush(line: Line) -> None:
    assert line.packets.send(b"from paho, ") == 11
    line.packets.write(b"from the link, ")
    line.packets.send(bytearray(b"from paho"))
    with pytest.raises(BlockingIOError):
        line.broker.recv(100)
    assert line.packets.flush()
    assert line.broker.recv(100) == b"from paho, from the link, from paho"
    assert line.packets.flush()
    with pytest.raises(BlockingIOError):
        line.broker.recv(100)


def test_what_the_kernel_does_not_take_waits(line: Line) -> None:
    data = bytes(range(256)) * (1 << 14)
    line.packets.write(data)
    assert not line.packets.flush()
    received = bytearray()
    while len(received) < len(data):
        received += line.broker.recv(1 << 20)
        line.packets.flush()
    assert received == data
    assert line.packets.flush()


def test_paho_has_to_wait_while_too_much_is_queued(line: Line) -> None:
    line.packets.write(bytes(9 << 20))
    with pytest.raises(BlockingIOError):
        line.packets.send(b"more")


def test_flushing_to_a_peer_that_is_gone_is_an_os_error_and_closing_is_not(line: Line) -> None:
    line.broker.close()
    line.packets.write(b"x")
    with pytest.raises(OSError, match="Broken pipe"):
        line.packets.flush()
    line.packets.close()


def test_closing_sends_what_is_left(line: Line) -> None:
    line.packets.write(b"farewell")
    line.packets.close()
    assert line.broker.recv(100) == b"farewell"
    assert line.broker.recv(100) == b""


def test_a_peer_that_still_sends_is_not_reset_before_it_has_read_the_farewell() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        broker, _ = server.accept()
        packets = PacketSocket(ours, MAX, has_properties=True)
        broker.sendall(bytes(100_000))  # nobody will read this
        packets.write(b"farewell")
        packets.close_after_peer(WAIT_S)
        closing = threading.Thread(target=packets.close)
        closing.start()
        broker.settimeout(WAIT_S)
        assert broker.recv(100) == b"farewell"
        broker.sendall(bytes(100_000))
        broker.settimeout(0.05)
        with pytest.raises(TimeoutError):  # not reset, and not closed either
            broker.recv(100)
        broker.close()
        closing.join(WAIT_S)
        assert not closing.is_alive() and ours.fileno() == -1


def test_a_peer_that_never_closes_is_left_after_a_while(line: Line) -> None:
    line.packets.write(b"farewell")
    line.packets.close_after_peer(0.1)
    line.packets.close()
    assert line.broker.recv(100) == b"farewell"
    assert line.broker.recv(100) == b""


# ----------------------------------------------------------------- paho itself


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_paho_gets_exactly_its_own_packets(cut: int) -> None:
    """A real client reads CONNACK, SUBACK and PINGRESP from between data packets of every size."""
    from tests.agent.hub.mqtt.broker import client_on

    line = Line(max_packet_bytes=MAX)
    client = client_on(line.packets)
    seen: list[str] = []
    client.on_connect = lambda *_: seen.append("connected")
    client.on_subscribe = lambda *_: seen.append("subscribed")
    client.on_message = lambda *_: seen.append("a message, which is not for paho")
    client.on_publish = lambda *_: seen.append("a PUBACK, which is not for paho")
    client.reconnect()
    data = CONNACK + publish(b"one", 7) + SUBACK + publish(b"x" * 1500) + PINGRESP + encode_puback(3) + SUBACK
    found: list[object] = []
    for piece in (data[:cut], data[cut:]):
        line.broker.sendall(piece)
        line.packets.fill()
        while (packet := line.packets.next_packet()) is not None:
            if isinstance(packet, ForPaho):
                assert client.loop_read() == paho.MQTT_ERR_SUCCESS
            else:
                found.append(packet)
    assert seen == ["connected", "subscribed", "subscribed"]
    assert [getattr(packet, "number", None) for packet in found] == [7, 0, 3]
    line.close()


@pytest.mark.parametrize("sent", [6, 20], ids=["no head", "half a head"])
def test_a_broker_that_ends_in_a_packet_that_is_too_large_has_ended(line: Line, sent: int) -> None:
    """Nothing told of it: the socket stayed readable for ever, and the loop turned as fast as it could."""
    line.broker.sendall(publish(b"x" * (MAX + 100), 7, is_v5=is_v5(line))[:sent])
    line.turn()
    line.broker.close()
    line.packets.fill()
    assert isinstance(line.packets.next_packet(), ForPaho)
    assert line.packets.recv(1) or line.packets._closed_by_peer
