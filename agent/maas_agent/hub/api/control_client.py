"""Asks the running agent over its control socket, for the commands of this device."""

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

from maas_agent.errors import UnavailableError
from maas_agent.hub.api.control_socket import NAME, abstract_name, peer

_MOST_BYTES = 16 << 20


def ask(store: Path, request: dict[str, Any], wait_s: float) -> dict[str, Any]:
    """The agent's answer to ``request``, within ``wait_s`` seconds; a ``reason`` in it says why it refused.

    Raises `UnavailableError` if no agent runs on this store, or it does not answer.
    """
    path = store / NAME
    try:
        with _knocked(store, wait_s) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = _answer(connection, path)
    except PermissionError:
        raise UnavailableError(f"no permission to ask the agent at {path}: try sudo") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise UnavailableError(f"no agent runs here ({path}): start it with 'systemctl start maas-agent'") from None
    except ConnectionError:
        raise UnavailableError(f"the agent at {path} ended while it answered, or is asked too often") from None
    except OSError as error:
        raise UnavailableError(f"the agent at {path} does not answer: {error}") from None
    return _document(answer, path)


def runs(store: Path) -> bool:
    """Whether an agent runs on this store."""
    try:
        _knocked(store, None).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _knocked(store: Path, wait_s: float | None) -> socket.socket:
    """A connection to the agent on this store. Raises ``OSError``."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(wait_s)
        try:
            _connect(connection, store / NAME)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if not _connects_without_a_disk(connection, store):
                raise error from None
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(connection: socket.socket, path: Path) -> None:
    """By this very name: what a link in its place leads to is another one's."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise ConnectionRefusedError
        connection.connect(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


def _connects_without_a_disk(connection: socket.socket, store: Path) -> bool:
    """Whether the agent listens where the store's disk has taken no socket, and it is the store's owner or root."""
    try:
        connection.connect(abstract_name(store))
        return peer(connection)[0] in (0, os.geteuid(), store.stat().st_uid)
    except OSError:
        return False


def _document(answer: bytes, path: Path) -> dict[str, Any]:
    """What was answered; raises `UnavailableError` if that is no JSON object."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        raise UnavailableError(f"the agent at {path} ended while it answered, or is asked too often") from None
    if not isinstance(document, dict):
        raise no_agent(path)
    return document


def no_agent(path: Path) -> UnavailableError:
    """The error for an answer that is none of an agent's: root asks whatever listens there."""
    return UnavailableError(f"what answers at {path} is no maas-agent, or one of another version: restart it")


def _answer(connection: socket.socket, path: Path) -> bytes:
    """All that is said; raises `UnavailableError` if that has no end."""
    answer = bytearray()
    while chunk := connection.recv(65536):
        answer += chunk
        if len(answer) > _MOST_BYTES:
            raise UnavailableError(f"what answers at {path} is no agent: it says more than {_MOST_BYTES} bytes")
    return bytes(answer)
