"""A wire to a server: a relay on the loopback that counts what goes over it, and can be cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wire:
    """``up`` and ``down`` are the bytes so far, headers included; ``cut_after``: so many down, then it breaks, once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = self.down = self.connections = 0
        self.cut_after: int | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Count from zero."""
        self.up = self.down = self.connections = 0

    def serve(self) -> None:
        """Relay until `close`."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                self.connections += 1
                for source, target, name in ((client, server, "up"), (server, client, "down")):
                    threading.Thread(target=self._relay, args=(source, target, name), daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _relay(self, source: socket.socket, target: socket.socket, name: str) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                with self._lock:
                    data, broken = self._allowed(data, name)
                    setattr(self, name, getattr(self, name) + len(data))
                target.sendall(data)
                if broken:
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _allowed(self, data: bytes, name: str) -> tuple[bytes, bool]:
        if name == "up" or self.cut_after is None:
            return data, False
        if len(data) < self.cut_after:
            self.cut_after -= len(data)
            return data, False
        data, self.cut_after = data[: self.cut_after], None
        return data, True


@contextmanager
def wired(port: int) -> Iterator[Wire]:
    """A wire to the server on this port of the loopback."""
    wire = Wire(port)
    threading.Thread(target=wire.serve, daemon=True).start()
    try:
        yield wire
    finally:
        wire.close()
