"""MQTT by hand: a publisher of packets that no client library would send, and a broker that lets everything through."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maas_agent.hub.mqtt.transport.wire import decode_publish, encode_puback, encode_publish, variable_integer
from maas_agent.hub.system.loop import Loop
from tests.agent.hub.mqtt.broker import Connection, ScriptedBroker
from tests.system.device import WAIT_S

LARGEST = 268_435_455 - 8
"""The largest remaining length that Mosquitto takes; that of the standard is eight bytes more."""
_CHUNK = bytes(1 << 20)


def stream(port: int, topic: str, remaining: int = LARGEST) -> None:
    """Publish zeros with QoS 0 in one packet of ``remaining`` bytes behind its header, without having it in memory."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        _greet(connection)
        length = bytes(remaining >> 7 * index & 0x7F | (0x80 if index < 3 else 0) for index in range(4))
        name = topic.encode()
        connection.sendall(b"\x30" + length + len(name).to_bytes(2, "big") + name)
        left = remaining - 2 - len(name)
        while left:
            left -= connection.send(_CHUNK[:left])
        _wait_until_read(connection)


def publish(topic: str, payload: bytes, number: int = 0) -> bytes:
    """A PUBLISH; of QoS 1 if it has a ``number``."""
    return encode_publish(topic.encode(), payload, 1 if number else 0, False, number, None)


def burst(port: int, packets: list[bytes]) -> None:
    """Send packets as fast as the broker reads, and return when it has read them."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        _greet(connection)
        for packet in packets:
            connection.sendall(packet)
        _wait_until_read(connection)


def _greet(connection: socket.socket) -> None:
    connection.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw")
    assert connection.recv(4) == b"\x20\x02\x00\x00"


def _wait_until_read(connection: socket.socket) -> None:
    """What comes before the answer to a ping are PUBACKs."""
    connection.sendall(b"\xc0\x00")
    tail = b""
    while not tail.endswith(b"\xd0\x00"):
        chunk = connection.recv(1 << 16)
        assert chunk, "the broker hung up"
        tail = (tail + chunk)[-2:]


class LaxBroker:
    """Speaks MQTT 3.1.1 to one agent. ``answers`` are the topics and payloads it has published."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._scripted = ScriptedBroker(loop, self._on_data)
        self.url = self._scripted.url
        self.answers: list[tuple[str, bytes]] = []
        self.connections = 0
        self.subscribed = False
        self.acknowledged: set[int] = set()
        self._handled = 0

    def send(self, packets: bytes) -> None:
        """Send on the newest connection."""
        self._scripted.connections[-1].send(packets)

    def run_until(self, condition: Callable[[], object]) -> None:
        """Let it talk until ``condition`` holds."""

        def late() -> None:
            raise AssertionError(f"waited in vain; it has said: {self.answers[-5:]}")

        timer = self._loop.after(WAIT_S, late)
        stop = lambda: self._loop.stop() if condition() else None  # noqa: E731
        self._loop.at_turn_end(stop)
        self._loop.run()
        self._loop._turn_end.remove(stop)
        timer.cancel()

    def close(self) -> None:
        self._scripted.close()

    def _on_data(self, connection: Connection, _data: bytes) -> None:
        received = connection.received
        while (length := variable_integer(received, 1)) is not None:
            end = 1 + length[1] + length[0]
            if len(received) < end:
                return
            self._handle(connection, received, 1 + length[1], end)
            del received[:end]

    def _handle(self, connection: Connection, received: bytearray, start: int, end: int) -> None:
        kind = received[0] & 0xF0
        if kind == 0x10:
            self.connections += 1
            connection.send(b"\x20\x02\x00\x00")
        elif kind == 0x80:
            connection.send(b"\x90\x03" + received[start : start + 2] + b"\x01")
            self.subscribed = True
        elif kind == 0xC0:
            connection.send(b"\xd0\x00")
        elif kind == 0x40:
            self.acknowledged.add(int.from_bytes(received[start : start + 2], "big"))
        elif kind == 0x30:
            packet = decode_publish(received, start, end, received[0] & 0x0F, has_properties=False)
            self.answers.append((packet.topic.decode(), packet.payload))
            if packet.qos:
                connection.send(encode_puback(packet.number))


@contextmanager
def lax_broker() -> Iterator[LaxBroker]:
    loop = Loop()
    broker = LaxBroker(loop)
    try:
        yield broker
    finally:
        broker.close()
        loop.close()
