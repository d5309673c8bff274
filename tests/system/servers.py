"""Servers of tests: each a process of its own on the loopback, with its files in a folder, ended for sure."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples" / "brokers"
USER, PASSWORD = "maas", "change-me"
"""As in the example configurations."""


def installed(program: str) -> str:
    """Where a broker of Debian is; without it the test is skipped, and fails in CI."""
    found = shutil.which(program, path="/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        assert os.environ.get("CI") != "true", f"CI needs {program}: scripts/ensure-brokers"
        pytest.skip(f"{program} is not installed: scripts/ensure-brokers installs it")
    return found


def filled(name: str, places: dict[str, str]) -> str:
    """An example configuration, its places replaced by those of this test; each must be there, and once."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in places.items():
        assert text.count(old) == 1, f"{old!r} is not once in {name}"
        text = text.replace(old, new)
    return text


class Server:
    """A broker that listens for MQTT on `port`; `stop`, `kill` and `start` again keep port, data and clients."""

    START_S = 60.0
    STOP_S = 30.0

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        """What is executed."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """What is added to the environment."""
        return {}

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it; returns at once. It ends with the tests, even if these are killed."""
        command = ["setpriv", "--pdeathsig", "KILL", *self.command]
        environment = os.environ | self.environment
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.folder
            )

    def start(self) -> None:
        """Start it, and wait until it accepts MQTT connections."""
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until it accepts MQTT connections."""
        deadline = time.monotonic() + self.START_S
        while not self.is_ready():
            assert time.monotonic() < deadline, f"{self.command[0]} does not start: {self.log[-4000:]}"
            time.sleep(0.02)  # nothing to wait on: the port opens when it opens

    def is_ready(self) -> bool:
        """Whether it accepts MQTT connections; an error if it has ended by itself."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.command[0]} has ended: {self.log[-4000:]}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def has_queued(self, topic: str) -> bool:
        """Whether a message on ``topic`` that it has acknowledged is on its disk; most acknowledge it only then."""
        return True

    def has_retained(self, topic: str) -> bool:
        """The same of a retained message."""
        return True

    def stop(self) -> None:
        """A clean end, as by its service manager."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(self.STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it, at the end of a test."""
        self.kill()


class DurableMosquitto(Server):
    """Mosquitto as examples/brokers/mosquitto.conf has it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._program = installed("mosquitto")
        self._data, passwords = folder / "data", folder / "passwords"
        self._data.mkdir()
        subprocess.run([installed("mosquitto_passwd"), "-b", "-c", passwords, USER, PASSWORD], check=True)
        places = {
            "listener 1883": f"listener {self.port} 127.0.0.1",
            "/etc/mosquitto/maas.passwd": str(passwords),
            "/var/lib/mosquitto/": f"{self._data}/",
            "autosave_interval 60": "autosave_interval 1",  # what a test waits for before a kill
        }
        self._config = folder / "mosquitto.conf"
        # Else it would give up root, and with it the folder of this test.
        user = "\nuser root\n" if os.geteuid() == 0 else ""
        self._config.write_text(filled("mosquitto.conf", places) + user)

    @property
    def command(self) -> list[str]:
        return [self._program, "-c", str(self._config)]

    def has_queued(self, topic: str) -> bool:
        try:
            return topic.encode() in (self._data / "mosquitto.db").read_bytes()
        except FileNotFoundError:
            return False

    has_retained = has_queued


class Nats(Server):
    """NATS with JetStream as examples/brokers/nats.conf has it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._program = installed("nats-server")
        places = {
            "127.0.0.1:4222": f"127.0.0.1:{free_port()}",
            "0.0.0.0:1883": f"127.0.0.1:{self.port}",
            "/var/lib/nats": str(folder / "data"),
            # What a test waits for after every cut.
            'ack_wait: "30s"': 'ack_wait: "4s"',
        }
        self._config = folder / "nats.conf"
        self._config.write_text(filled("nats.conf", places))

    @property
    def command(self) -> list[str]:
        return [self._program, "-c", str(self._config)]


class Amqtt(Server):
    """The broker of the demo: in memory, for everybody."""

    STOP_S = 2.0
    """It waits for its clients for ever."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(EXAMPLES.parent / "digits" / "broker.py"), str(self.port)]
