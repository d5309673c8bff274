"""Real brokers as fixtures: started on a free port of the loopback, ended with the test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Mosquitto:
    """A Mosquitto with its own configuration; `stop` and `start` again keep the port, and with it its clients."""

    def __init__(self, folder: Path, *, options: str = "") -> None:
        self.port = free_port()
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        # Else it drops what a client is too slow for, having acknowledged it: that would look like the agent's loss.
        queue = "" if "max_queued_messages" in options else "max_queued_messages 0\n"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            f"max_packet_size 268435455\nset_tcp_nodelay true\n{queue}{options}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def log(self) -> str:
        """Everything it has logged so far."""
        return self._log.read_text()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        assert MOSQUITTO is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"Mosquitto does not start: {self._log.read_text()}") from None
                time.sleep(0.01)  # nothing to wait on: the port opens when it opens

    def stop(self) -> None:
        """Kill it as a crash would; nothing it knew survives."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def need_mosquitto() -> None:
    """Where it is not installed the test is skipped, and fails in CI."""
    if MOSQUITTO is None:
        assert os.environ.get("CI") != "true", "CI needs Mosquitto: apt install mosquitto"
        pytest.skip("Mosquitto is not installed: sudo apt install mosquitto")


@contextmanager
def running(folder: Path) -> Iterator[Mosquitto]:
    """A started one; where it is not installed the test is skipped, and fails in CI."""
    need_mosquitto()
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()
