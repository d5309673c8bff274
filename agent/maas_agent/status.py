"""``maas-agent status``: what the running agent says of itself over its control socket."""

import json
import socket
from pathlib import Path
from typing import Any

from maas_agent.config import load_config
from maas_agent.errors import UnavailableError
from maas_agent.hub.control import NAME
from maas_agent.trials import table

_WAIT_S = 5.0


def show_status(config_path: Path, *, as_json: bool) -> int:
    """Print the status; returns 0 if every pipeline serves and the broker is connected, else 1.

    Raises `UnavailableError` if no agent runs with this configuration.
    """
    status = _ask(Path(load_config(config_path).store.path) / NAME)
    print(json.dumps(status, indent=2) if as_json else _readable(status))
    return 0 if status["connected"] and all(p["serving"] for p in status["pipelines"]) else 1


def _ask(path: Path) -> dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(_WAIT_S)
            door.connect(str(path))
            answer = b"".join(iter(lambda: door.recv(65536), b""))
    except PermissionError:
        raise UnavailableError(f"no permission to ask the agent at {path}: try sudo") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise UnavailableError(f"no agent runs here ({path}): start it with 'systemctl start maas-agent'") from None
    except OSError as error:
        raise UnavailableError(f"the agent at {path} does not answer: {error}") from None
    try:
        status: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise UnavailableError(f"the agent at {path} ended while it answered, or is asked too often") from None
    return status


def _readable(status: dict[str, Any]) -> str:
    connected = "connected to" if status["connected"] else "NOT connected to"
    outbox = status["outbox"]
    lines = [
        f"{status['device']}: {connected} {status['broker']}; "
        f"{outbox['results']} results waiting ({outbox['bytes']} bytes), {outbox['dropped']} dropped"
    ]
    for pipeline in status["pipelines"]:
        active, update, counters = pipeline["active"], pipeline["update"], pipeline["counters"]
        state = "serving" if pipeline["serving"] else f"NOT serving ({pipeline['trouble']})"
        version = f"{active['version']} ({active['digest'][:12]})" if active else "no bundle"
        lines.append(f"  {pipeline['pipeline']}: {state}, {version}, {_setup(pipeline)}")
        errors = sum(counters["errors"].values())
        lines.append(f"    {counters['answered']} answered, {errors} errors, {counters['worker_restarts']} restarts")
        reason = f": {update['reason']}" if update["reason"] else ""
        lines.append(f"    update: {update['state']} {update['version'] or ''}{reason}")
        for rest in pipeline["quarantine"]:
            lines.append(f"    quarantine: {rest['accelerator']} until {rest['tried_again']}: {rest['reason']}")
        if pipeline["trials"]:
            chosen = (pipeline["accelerator"], pipeline["threads"], pipeline["options"])
            lines += [f"    {line}" for line in table.lines(pipeline["trials"], chosen)]
    return "\n".join(lines)


def _setup(pipeline: dict[str, Any]) -> str:
    if pipeline["accelerator"] is None:
        return "-"
    ready, wanted = pipeline["replicas"]["ready"], pipeline["replicas"]["wanted"]
    threads = f", {pipeline['threads']} threads" if pipeline["threads"] > 1 else ""
    return f"{pipeline['accelerator']}{threads}" + (f", {ready} of {wanted} replicas" if wanted > 1 else "")
