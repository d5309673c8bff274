"""The proxy does to a connection what its methods say, and reads along what passes, however it is cut into pieces."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from maas_agent.hub.mqtt.transport.wire import encode_puback, encode_publish
from tests.faults.proxy import BOTH, DOWN, UP, Proxy
from tests.faults.tap import Record, Tap
from tests.system.device import wait_until

CONNACK = b"\x20\x03\x00\x00\x00"
_SOON_S = 0.1


class Line:
    """An agent's end and a broker's end, through a proxy."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self._listener.getsockname()[1])
        self.agent, self.broker = self.connect()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        agent = socket.create_connection(("127.0.0.1", self.proxy.port), 10)
        broker, _ = self._listener.accept()
        broker.settimeout(10)
        return agent, broker

    def close(self) -> None:
        self.proxy.close()
        for end in (self.agent, self.broker, self._listener):
            end.close()


@pytest.fixture
def line() -> Iterator[Line]:
    with contextlib.closing(Line()) as line:
        yield line


def passes(source: socket.socket, sink: socket.socket) -> bool:
    """Whether a byte comes through soon."""
    source.sendall(b"\xc0\x00")
    sink.settimeout(_SOON_S)
    try:
        return sink.recv(100) != b""
    except TimeoutError:
        return False
    finally:
        sink.settimeout(10)


def test_bytes_pass_in_both_directions(line: Line) -> None:
    line.proxy.heal()
    assert passes(line.agent, line.broker) and passes(line.broker, line.agent)


def test_a_stall_holds_one_direction_and_what_was_held_follows(line: Line) -> None:
    line.proxy.stall(UP)
    assert not passes(line.agent, line.broker) and passes(line.broker, line.agent)
    line.proxy.heal()
    assert line.broker.recv(100) == b"\xc0\x00"
    line.proxy.stall(DOWN)
    assert passes(line.agent, line.broker) and not passes(line.broker, line.agent)
    line.proxy.stall(*BOTH)
    assert not passes(line.agent, line.broker)


def test_who_closes_in_a_stall_is_missed_only_afterwards(line: Line) -> None:
    line.proxy.stall(*BOTH)
    line.agent.sendall(b"\xc0\x00")
    line.agent.close()
    line.broker.settimeout(_SOON_S)
    with pytest.raises(TimeoutError):
        line.broker.recv(100)
    line.broker.settimeout(10)
    line.proxy.heal()
    assert line.broker.recv(100) == b"\xc0\x00"
    assert line.broker.recv(100) == b""


def test_a_reset_is_one_and_an_end_is_one(line: Line) -> None:
    line.proxy.reset()
    for end in (line.agent, line.broker):
        with pytest.raises(ConnectionResetError):
            end.recv(100)
    agent, broker = line.connect()
    with agent, broker:
        assert passes(agent, broker)
        line.proxy.cut()
        assert agent.recv(100) == b"" and broker.recv(100) == b""


def test_half_open_the_broker_is_gone_and_the_agent_not_told(line: Line) -> None:
    line.proxy.half_open()
    assert line.broker.recv(100) == b""
    assert not passes(line.agent, line.agent)
    line.proxy.heal()
    with pytest.raises(ConnectionResetError):
        line.agent.recv(100)


def test_so_many_connections_are_reset_after_connack(line: Line) -> None:
    line.proxy.kick(1)
    line.broker.sendall(CONNACK)
    with pytest.raises(ConnectionResetError):
        while line.agent.recv(100):
            pass  # the CONNACK may be read before the reset
    assert line.proxy.kicks_left == 0
    agent, broker = line.connect()
    with agent, broker:
        broker.sendall(CONNACK)
        assert agent.recv(100) == CONNACK
        assert passes(agent, broker)


def test_no_new_connection_while_they_are_held(line: Line) -> None:
    line.proxy.hold()
    with socket.create_connection(("127.0.0.1", line.proxy.port), 10) as waiting:
        assert line.proxy.connections == 1
        line.proxy.heal()
        wait_until(lambda: line.proxy.connections == 2, "the connection that waited is not taken")
        assert waiting.fileno() >= 0


def test_a_slow_network_passes_everything_in_the_end(line: Line) -> None:
    line.proxy.throttle(50_000)
    line.agent.sendall(bytes(20_000))
    received = 0
    while received < 20_000:
        received += len(line.broker.recv(100_000))
        assert received <= 20_000
    assert passes(line.broker, line.agent)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_tap_tells_who_has_what(piece: int) -> None:
    """Input 1 is acknowledged, 2 is not; of the results the broker takes that of 1 and refuses that of 2."""
    record = Record()
    tap = Tap(record)

    def fed(direction: str, data: bytes) -> None:
        for start in range(0, len(data), piece):
            getattr(tap, direction)(data[start : start + piece])

    inputs = [encode_publish(b"maas/dev/digits/in/n%d" % n, bytes(300), 1, False, n, b"\x00") for n in (1, 2)]
    fed("down", CONNACK + b"\x90\x04\x00\x01\x00\x01" + b"".join(inputs))
    results = [encode_publish(b"maas/dev/digits/out/n%d" % n, b"{}", 1, False, n + 300, b"\x00") for n in (1, 2)]
    status = encode_publish(b"maas/dev/status", b"{}", 0, True, 0, b"\x00")
    fed("up", status + b"".join(results))
    fed("down", encode_puback(301) + b"\x40\x03" + (302).to_bytes(2, "big") + b"\x97")
    fed("up", encode_puback(1))
    assert (record.connections, record.subscriptions) == (1, 1)
    assert record.offered.keys() == record.reported.keys() == {"n1", "n2"}
    assert record.taken.keys() == record.settled.keys() == {"n1"}
