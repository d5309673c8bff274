"""The contenders: how each is started, found ready, loaded, weighed and stopped.

Every MQTT contender takes its inputs from ``maas/bench/cnn/in/<id>`` of the one broker and answers on
``maas/bench/cnn/out/<id>``; the HTTP one is asked directly.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import wire
from bench.ledger import PAYLOAD_SIZE, PROBE, Measured
from bench.load import IN_PREFIX, OUT_PREFIX
from bench.model import Model
from bench.processes import (
    StartError,
    await_ready,
    command_line,
    descendants,
    free_port,
    listening,
    output_of,
    peak_mb,
    running,
)

WINDOW = 64  # requests outstanding where throughput is measured
_START_S = 60.0  # TensorFlow imports, on a busy machine
_PROBE_S = 0.3  # how long a readiness probe awaits its answer
_MARGIN_S = 90.0  # beyond the planned time, for a load generator to drain and end
_WARMUP_S = 1.0
_HTTP_WARMUP_S = 8.0  # 64 predictions at once share two cores: the first of them end only after seconds

BROKER = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
# 20 unacknowledged messages to a client, the default, would cap 64 outstanding requests at QoS 1.
max_inflight_messages 100
max_queued_messages 10000
# Else Nagle's algorithm holds an answer behind the PUBACK of its request until a delayed ACK: 44 ms at QoS 1.
set_tcp_nodelay true
"""

AGENT = """\
[device]
id = "bench"
[broker]
url = "mqtt://127.0.0.1:{port}"
session_expiry_s = 0  # else the broker keeps for it what the other contenders are asked at QoS 1 meanwhile
[store]
path = "{store}"
[[pipeline]]
name = "cnn"
bundle = "{bundle}"
allow_unsigned = true
"""


class Sample(msgspec.Struct, frozen=True):
    """One contender, freshly started, in one round."""

    contender: str
    qos: int | None  # None over HTTP
    round: int
    saturated: Measured  # with 64 outstanding
    single: Measured  # with one outstanding
    peak_mb: dict[str, float]  # by role: hub and worker of the agent, else process; MB of 10^6 bytes


class Site(msgspec.Struct, frozen=True):
    """What the contenders of a run share."""

    folder: Path
    broker_port: int
    model: Model


@dataclass(frozen=True)
class Contender:
    """One way to serve the model."""

    title: str
    command: Callable[[Site, int, int], list[str]]  # of the site, the port and the QoS
    http: bool = False


def _module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def _agent(site: Site, port: int, _qos: int) -> list[str]:
    """Configure an agent with an empty store of its own; it takes the QoS of its inputs as they come."""
    home = Path(tempfile.mkdtemp(prefix="agent-", dir=site.folder))
    configuration = AGENT.format(port=port, store=home / "store", bundle=site.model.bundle)
    (home / "agent.toml").write_text(configuration)
    return _module("maas_agent", "run", "--config", home / "agent.toml")


def _script(module: str) -> Callable[[Site, int, int], list[str]]:
    return lambda site, port, qos: _module(module, "--port", port, "--qos", qos, "--model", site.model.tflite)


def _flask(site: Site, port: int, _qos: int) -> list[str]:
    return _module("bench.peers.flask_keras", "--port", port, "--model", site.model.keras)


def _echo(_site: Site, port: int, qos: int) -> list[str]:
    return _module("bench.echo", "--port", port, "--qos", qos)


CONTENDERS: dict[str, Contender] = {
    "agent": Contender("the agent, one worker", _agent),
    "obvious": Contender("(a) paho, one process", _script("bench.peers.obvious")),
    "aiomqtt": Contender("(b) aiomqtt, one process", _script("bench.peers.obvious_aiomqtt")),
    "flask": Contender("(c) Flask + Keras predict", _flask, http=True),
    "ceiling": Contender("ceiling: no inference", _echo),
}


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run Mosquitto on a free loopback port for the time of a ``with`` block; yields the port."""
    executable = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    port, configuration, log = free_port(), folder / "mosquitto.conf", folder / "mosquitto.log"
    configuration.write_text(BROKER.format(port=port))
    with running([executable, "-c", str(configuration)], log) as process:
        await_ready(process, log, lambda: listening(port), _START_S)
        yield port


def answers(port: int) -> bool:
    """Return whether a probe published on the broker is answered, and not with an error."""
    probe = PROBE + secrets.token_hex(4).encode()
    connection = wire.Connection(port, "probe", f"{OUT_PREFIX}/{probe.decode()}", qos=0)
    with contextlib.closing(connection):
        connection.send(wire.publish(f"{IN_PREFIX}/".encode() + probe, bytes(PAYLOAD_SIZE)))
        return any(
            header & 0xF0 == wire.PUBLISH and b'"error"' not in body for header, body in connection.receive(_PROBE_S)
        )


def measure(name: str, site: Site, qos: int | None, round_: int, seconds: float) -> Sample:
    """Start a contender, measure it with 64 and with one outstanding, weigh it and stop it."""
    contender = CONTENDERS[name]
    port = free_port() if contender.http else site.broker_port
    log = site.folder / f"{name}.log"
    with running(contender.command(site, port, qos or 0), log) as process:
        await_ready(process, log, lambda: (listening if contender.http else answers)(port), _START_S)
        saturated = _load(port, qos, WINDOW, seconds)
        single = _load(port, qos, 1, seconds)
        if process.poll() is not None:
            raise StartError(f"ended with {process.returncode} while it was measured")
        return Sample(name, qos, round_, saturated, single, _peaks(process.pid))


def _load(port: int, qos: int | None, window: int, seconds: float) -> Measured:
    """Run the load generator that belongs to the QoS (None: HTTP) once."""
    warmup = _WARMUP_S
    if qos is None:
        command = _module("bench.http_load", "--port", port)
        warmup = _HTTP_WARMUP_S if window > 1 else _WARMUP_S
    else:
        command = _module("bench.load", "--port", port, "--qos", qos)
    command += ("--window", str(window), "--warmup", str(warmup), "--seconds", str(seconds))
    return msgspec.json.decode(output_of(command, seconds + _MARGIN_S), type=Measured)


def _peaks(pid: int) -> dict[str, float]:
    """Return the peak memory of a contender's processes by role; of several in a role, the largest."""
    children = descendants(pid)
    peaks = {"hub" if children else "process": peak_mb(pid)}
    for child in children:
        role = "worker" if "maas_agent.worker" in command_line(child) else "other"
        peaks[role] = max(peaks.get(role, 0.0), peak_mb(child))
    return peaks
