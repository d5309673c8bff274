"""The workshop, the repository and the device of the demo: real commands, real processes, one temporary folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from visitor import Visitor

HERE = Path(__file__).parent
DEVICE = "maas/demo-device"
_STOP_S = 30
_START_S = 30

_AGENT_TOML = """
metrics_s = 5
[device]
id = "demo-device"
[broker]
url = "mqtt://127.0.0.1:{broker}"
protocol = "3.1.1"            # all the embedded broker speaks
[store]
path = "{folder}/store"
[repository]
url = "http://127.0.0.1:{server}"
root = "{folder}/root.json"

[[pipeline]]
name = "digits"
model = "digits"
update = {{ probation_s = 2 }}

[[pipeline]]
name = "sensor"
model = "digits"
update = {{ probation_s = 2 }}
[pipeline.source]
type = "command"
command = ["{python}", "{sensor}", "{folder}/heldout.npz", "20"]
"""


class Stage:
    """Runs commands and servers; whatever is running when it is left is ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        # What a command leaves behind when it is ended in the middle goes with the folder.
        temporary = folder / "tmp"
        temporary.mkdir()
        self._environment = os.environ | {"TMPDIR": str(temporary)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            _end(process)

    def train(self, version: str, epochs: int) -> None:
        """Train a model; the first time also writes the data files."""
        options = ["--epochs", str(epochs), "--model", f"digits-{version}.keras"]
        self._command([sys.executable, str(HERE / "train.py"), str(self._folder), *options])

    def convert(self, version: str) -> tuple[Path, dict[str, Any]]:
        """Convert a model; its bundle, and what the converter measured."""
        bundle = self._folder / f"digits-{version}.maas"
        source = self._folder / f"digits-{version}.keras"
        printed = self._converter(
            ["convert", str(source), "--name", "digits", "--version", version, "-o", str(bundle)],
            ["--calibration", str(self._folder / "calibration.npz")],
            ["--evaluation", str(self._folder / "evaluation.npz"), "--preprocess", str(HERE / "preprocess.toml")],
        )
        metrics = printed["metrics"]
        sizes = {"float32": metrics["float32_bytes"], "bundle": metrics["bundle_bytes"]}
        return bundle, {"accuracy": metrics["accuracy"], "latency": metrics["latency"], "size": sizes}

    def evaluated_accuracy(self, version: str) -> float:
        """The converter's own figure for a bundle on the held-out digits."""
        bundle, data = self._folder / f"digits-{version}.maas", self._folder / "heldout.npz"
        printed = self._converter(["evaluate", str(bundle), "--data", str(data)])
        return float(printed["score"]["accuracy"])

    def found_repository(self) -> None:
        """Keys, an empty repository, and the root that the device trusts."""
        repository, keys = self._folder / "repo", self._folder / "keys"
        self._converter(["keys", "create", str(keys), "--no-passphrase"])
        self._converter(["repo", "init", str(repository), "--keys", str(keys)])
        (self._folder / "root.json").write_bytes((repository / "metadata" / "root.json").read_bytes())

    def publish(self, bundle: Path) -> None:
        """Publish a bundle to the channel ``stable``."""
        self._converter(
            ["publish", str(bundle), "--repo", str(self._folder / "repo"), "--keys", str(self._folder / "keys")]
        )

    def start(self, running: ExitStack) -> Visitor:
        """Start broker, file server and agent; a visitor that is connected to the broker."""
        broker, server = _free_port(), _free_port()
        self._service([sys.executable, str(HERE / "broker.py"), str(broker)], "broker")
        _wait_for_port(broker)
        repository = str(self._folder / "repo")
        self._service([sys.executable, "-m", "http.server", str(server), "-b", "127.0.0.1", "-d", repository], "server")
        _wait_for_port(server)
        visitor = Visitor(broker, DEVICE)
        running.callback(visitor.close)
        config = self._folder / "agent.toml"
        config.write_text(
            _AGENT_TOML.format(
                broker=broker, server=server, folder=self._folder, python=sys.executable, sensor=HERE / "sensor.py"
            )
        )
        agent = self._service([sys.executable, "-m", "maas_agent", "run", "--config", str(config)], "agent")
        running.callback(_end, agent)
        return visitor

    def heldout(self) -> tuple[np.ndarray, np.ndarray]:
        """The held-out digits (N, 8, 8, 1) uint8 and their classes."""
        data = np.load(self._folder / "heldout.npz")
        return data["x"], data["y"]

    def _converter(self, *arguments: list[str]) -> dict[str, Any]:
        """Run maas-converter with --json; what it printed."""
        command = [sys.executable, "-m", "maas_converter", *(word for part in arguments for word in part), "--json"]
        printed: dict[str, Any] = json.loads(self._command(command))
        return printed

    def _command(self, command: Sequence[str]) -> bytes:
        """Run a command to its end; raises `RuntimeError` with what it said if it fails."""
        # In a session of its own: Ctrl-C reaches this process, which then ends the command in order.
        process = self._start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        printed, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command[1:4])} …: {said.decode(errors='replace').strip()[-2000:]}")
        return printed

    def _service(self, command: Sequence[str], name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            return self._start(command, stdout=log, stderr=log)

    def _start(self, command: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        with _uninterrupted():  # else a process could be started that nobody knows of, and so nobody ends
            process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment, start_new_session=True, **streams
            )
            self._processes.append(process)
        return process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C to the end of the block."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with everything it has started (the agent's workers end with the agent)."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port}") from None
            time.sleep(0.05)
