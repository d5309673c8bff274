"""A TCP load balancer: what a DNS name or HAProxy is to a device, which knows one address only."""

import contextlib
import socket
import threading


class Balancer:
    """Gives every connection to the first of its backends that accepts one; nothing is decided again while it lives."""

    def __init__(self, backends: list[int]) -> None:
        self.backends = backends
        """Their ports; may be replaced at any time."""
        self.chosen: list[int] = []
        """The backend of every connection so far, as its place in the list."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """End every connection."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            backend = self._connected()
            if backend is None:
                client.close()
                continue
            self._open += (client, backend)
            for source, sink in ((client, backend), (backend, client)):
                threading.Thread(target=_forward, args=(source, sink), daemon=True).start()

    def _connected(self) -> socket.socket | None:
        for place, port in enumerate(self.backends):
            try:
                backend = socket.create_connection(("127.0.0.1", port), 5)
            except OSError:
                continue
            backend.settimeout(None)
            self.chosen.append(place)
            return backend
        return None


def _forward(source: socket.socket, sink: socket.socket) -> None:
    """Until either side ends; then both end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
