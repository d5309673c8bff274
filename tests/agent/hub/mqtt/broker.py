"""The broker's side of a connection, byte by byte, in the same loop as what is tested: no thread, no sleep."""

import socket
import struct
from collections.abc import Callable

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.client import V5, Client, new_client
from maas_agent.hub.mqtt.transport.packets import PacketSocket
from maas_agent.hub.system.loop import Loop

CONNACK = {5: b"\x20\x03\x00\x00\x00", 4: b"\x20\x02\x00\x00"}


def client_on(packets: PacketSocket) -> Client:
    """A real paho client (MQTT 5) on this socket; `reconnect` makes it say CONNECT."""
    client = new_client(BrokerSettings(), V5, "test", None)
    client.prepared = packets
    return client


class Connection:
    """One that was accepted. ``received`` are the bytes it said, ``level`` the MQTT version of its CONNECT."""

    def __init__(self, loop: Loop, end: socket.socket, on_data: "OnData") -> None:
        self.received = bytearray()
        self._loop, self._end, self._on_data = loop, end, on_data
        end.setblocking(False)
        loop.watch(end, lambda *_: self._readable())

    @property
    def level(self) -> int:
        # Fixed header, length (one byte will do here), "MQTT" with its length, then the level (section 3.1.2.2).
        return self.received[8]

    def send(self, data: bytes) -> None:
        self._end.sendall(data)

    def pause(self) -> None:
        """Read nothing more: what was sent here fills the buffers in between."""
        self._loop.unwatch(self._end)

    def read(self, size: int) -> int:
        """While paused, read at most ``size`` bytes; returns how many."""
        try:
            data = self._end.recv(size)
        except BlockingIOError:
            return 0
        self.received += data
        return len(data)

    def reset(self) -> None:
        """Close without a word, and forget what was not read: the other end gets RST instead of FIN."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._loop.unwatch(self._end)
        self._end.close()

    def _readable(self) -> None:
        try:
            data = self._end.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            return
        self.received += data
        self._on_data(self, data)


OnData = Callable[[Connection, bytes], None]


class ScriptedBroker:
    """Listens on the loopback; ``on_data`` is the script: called with a connection and what it has just said."""

    def __init__(self, loop: Loop, on_data: OnData) -> None:
        self.connections: list[Connection] = []
        self._loop, self._on_data = loop, on_data
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        loop.watch(self._listener, lambda *_: self._accept())

    def close(self) -> None:
        self._loop.unwatch(self._listener)
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        end, _ = self._listener.accept()
        self.connections.append(Connection(self._loop, end, self._on_data))
