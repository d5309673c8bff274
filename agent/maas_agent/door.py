"""How a command of this device asks the running agent, over its control socket."""

import json
import socket
from pathlib import Path
from typing import Any

from maas_agent.errors import UnavailableError
from maas_agent.hub.control import NAME


def ask(store: Path, request: dict[str, Any], wait_s: float) -> dict[str, Any]:
    """The agent's answer to ``request``, within ``wait_s`` seconds; a ``reason`` in it says why it refused.

    Raises `UnavailableError` if no agent runs on this store, or it does not answer.
    """
    path = store / NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(wait_s)
            door.connect(str(path))
            door.sendall(json.dumps(request).encode() + b"\n")
            answer = b"".join(iter(lambda: door.recv(65536), b""))
    except PermissionError:
        raise UnavailableError(f"no permission to ask the agent at {path}: try sudo") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise UnavailableError(f"no agent runs here ({path}): start it with 'systemctl start maas-agent'") from None
    except ConnectionError:
        raise UnavailableError(f"the agent at {path} ended while it answered, or is asked too often") from None
    except OSError as error:
        raise UnavailableError(f"the agent at {path} does not answer: {error}") from None
    try:
        document: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise UnavailableError(f"the agent at {path} ended while it answered, or is asked too often") from None
    return document


def runs(store: Path) -> bool:
    """Whether an agent runs on this store."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.connect(str(store / NAME))
    except PermissionError:
        return True
    except OSError:
        return False
    return True
