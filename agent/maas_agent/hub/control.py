"""The local door: a Unix socket in the store on which ``maas-agent status`` asks the running hub."""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.errors import ConfigError
from maas_agent.hub.loop import Loop

NAME = "control.sock"
_MAX_CLIENTS = 8


class ControlSocket:
    """Sends ``describe()`` to whoever connects; only the agent's own user and group can."""

    def __init__(self, loop: Loop, store: Path, describe: Callable[[], dict[str, Any]]) -> None:
        self._loop, self._describe = loop, describe
        self._path = store / NAME
        self._clients: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        try:
            self._listener.bind(str(self._path))
        except OSError as error:
            raise ConfigError(f"store.path: cannot make {self._path}: {error.strerror or error}") from None
        os.chmod(self._path, 0o660)  # noqa: PTH101 - a socket, not a file
        self._listener.listen(_MAX_CLIENTS)
        loop.watch(self._listener, lambda *_: self._accept())

    def close(self) -> None:
        """Close the door and remove it."""
        for client in list(self._clients):
            self._drop(client)
        self._loop.unwatch(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listener.accept()
            if len(self._clients) >= _MAX_CLIENTS:
                client.close()
                return
            client.setblocking(False)
            self._clients[client] = msgspec.json.encode(self._describe()) + b"\n"
            self._loop.watch(client, lambda *_: self._send(client), write=True)

    def _send(self, client: socket.socket) -> None:
        try:
            sent = client.send(self._clients[client], socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        self._clients[client] = self._clients[client][sent:]
        if not self._clients[client]:
            self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._loop.unwatch(client)
        del self._clients[client]
        client.close()
