"""Answers the commands of this device, which ask the running hub on a Unix socket in the store.

One request a connection, a line of JSON: ``{"do": "status"}``. The answer is one JSON document, when there is one.
"""

import contextlib
import os
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.base.untrusted import MALFORMED, is_deeper
from maas_agent.errors import ConfigError, UnavailableError
from maas_agent.hub.api.commands import MAX_LEVELS, Handler
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.store_folder import TAKES_NOTHING

NAME = "control.sock"
_MAX_CLIENTS = 8
_MAX_REQUEST_BYTES = 1 << 16
"""``install`` names pipelines: hundreds of them, with names of 64 characters."""
_PATIENCE_S = 5.0
"""Whoever has not asked by then is let go."""
_TAKEN_S = 30.0
"""Whoever has not taken its answer by then likewise: a few of them would keep everybody else out."""
_REST_S = 1.0
_CREDENTIALS = struct.Struct("3i")
"""Process, user and group of whoever is at the other end (unix(7), SO_PEERCRED)."""


def abstract_name(store: Path) -> bytes:
    """The name of the socket where the store takes none: of this very folder, whatever leads to it.

    Anybody may take such a name and speak to it: both ends look at `peer`. Raises ``OSError`` if there is no store.
    """
    found = store.stat()
    return f"\0maas-agent/{found.st_dev:x}-{found.st_ino:x}".encode()


def peer(connection: socket.socket) -> tuple[int, int]:
    """User and group at the other end, as the kernel says."""
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, group = _CREDENTIALS.unpack(said)
    return user, group


def _is_one_of_us(connection: socket.socket) -> bool:
    user, group = peer(connection)
    return user in (0, os.geteuid()) or group == os.getegid()


class _Client:
    """Somebody who asks: what it has said so far, and what it is still to be told."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.request = b""
        self.has_asked = False
        self.answer: bytes | None = None


class ControlSocket:
    """Carries out requests by ``handlers``; only the agent's own user and group can ask, and root.

    Where the disk of the store takes no socket, it has a name that is on no disk (unix(7), abstract).
    """

    def __init__(self, loop: Loop, store: Path, handlers: dict[str, Handler]) -> None:
        self._loop, self._handlers = loop, handlers
        self._path = store / NAME
        self._clients: set[_Client] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._is_abstract = False
        try:
            self._path.unlink(missing_ok=True)
            self._listener.bind(str(self._path))
        except OSError as error:
            self._without_a_disk(store, error)
        else:
            os.chmod(self._path, 0o660)  # noqa: PTH101 - a socket, not a file
        self._listener.listen(_MAX_CLIENTS)
        self._listen()

    def _without_a_disk(self, store: Path, error: OSError) -> None:
        if error.errno not in TAKES_NOTHING:
            raise ConfigError(f"store.path: cannot make {self._path}: {error.strerror or error}") from None
        self._is_abstract = True
        try:
            self._listener.bind(abstract_name(store))
        except OSError as other:
            raise UnavailableError(f"cannot make {self._path}: {error.strerror}, nor without it: {other}") from None

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.watch(self._listener, lambda *_: self._accept())

    def close(self) -> None:
        """Close the socket and remove it."""
        for client in list(self._clients):
            self._drop(client)
        self._loop.unwatch(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):  # the disk may have become read-only
            self._path.unlink()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: whoever knocks waits, and this does not turn over it
            self._loop.unwatch(self._listener)
            self._loop.after(_REST_S, self._listen)
            return
        with contextlib.suppress(OSError):
            if len(self._clients) >= _MAX_CLIENTS or (self._is_abstract and not _is_one_of_us(connection)):
                connection.close()
                return
            connection.setblocking(False)
            client = _Client(connection)
            self._clients.add(client)
            self._loop.watch(connection, lambda *_: self._receive(client))
            self._loop.after(_PATIENCE_S, lambda: None if client.has_asked else self._drop(client))

    def _receive(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(_MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        client.request += chunk
        if not chunk or len(client.request) > _MAX_REQUEST_BYTES:
            self._drop(client)  # it has gone, also one whose answer is not there yet
        elif b"\n" in chunk and not client.has_asked:  # whatever else it says, until it has its answer
            client.has_asked = True
            self._carry_out(client)

    def _carry_out(self, client: _Client) -> None:
        finish = partial(self._finish, client)
        try:
            request = msgspec.json.decode(client.request, type=dict[str, Any])
        except MALFORMED:
            request = None
        if request is None or is_deeper(request, MAX_LEVELS):
            finish("this is no JSON object", {})
            return
        handler = self._handlers.get(str(request.get("do")))
        if handler is None:
            finish(f"unknown request: this agent knows {', '.join(sorted(self._handlers))}", {})
        else:
            handler(request, finish)

    def _finish(self, client: _Client, reason: str | None, fields: dict[str, Any]) -> None:
        if client in self._clients:
            client.answer = msgspec.json.encode(fields if reason is None else fields | {"reason": reason}) + b"\n"
            self._loop.watch(client.connection, lambda *_: self._send(client), write=True)
            self._loop.after(_TAKEN_S, lambda: self._drop(client))

    def _send(self, client: _Client) -> None:
        try:
            sent = client.connection.send(client.answer or b"", socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.answer = (client.answer or b"")[sent:]
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._loop.unwatch(client.connection)
            client.connection.close()
