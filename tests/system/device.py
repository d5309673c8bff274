"""A device: a real ``maas-agent run`` in a process of its own, with its configuration, store and log in a folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from maas_agent.hub.api import control_client
from tests.runtimes import RUNTIME

WAIT_S = 60.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Wait for a condition that only looking can tell; fail with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.01)


class Device:
    """``pipelines`` is the TOML of the [[pipeline]] tables; ``extra`` goes before them, ``broker`` into [broker].

    Pipelines that do not say on which interpreter they run get the one of these tests.
    """

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        pipelines: str,
        *,
        device_id: str = "dev",
        extra: str = "",
        broker: str = "reconnect_max_s = 1.0",
    ) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.id, self.folder, self.store = device_id, folder, folder / "store"
        self.config, self.log_path = folder / "agent.toml", folder / "agent.log"
        self.config.write_text(
            f'metrics_s = 0.5\n[device]\nid = "{device_id}"\n[broker]\nurl = "{broker_url}"\n{broker}\n'
            f'[store]\npath = "{self.store}"\n{extra}\n{_on_the_tests_runtime(pipelines)}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str] | None = None, within: tuple[str, ...] = ()) -> None:
        """Start the agent, by the command ``within`` if there is one; returns at once."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*within, sys.executable, "-m", "maas_agent", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | (environment or {}),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone, by itself or by a signal."""
        return self._process is None or self._process.poll() is not None

    def log(self) -> str:
        """Everything it has logged so far."""
        return self.log_path.read_text()

    @property
    def connections(self) -> int:
        """Connections that a broker has accepted in this run; its log tells fewer and fewer of them."""
        said: int = control_client.ask(self.store, {"do": "status"}, WAIT_S)["link"]["connections"]
        return said

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return [pid for pid in _children(self.pid) if "maas_agent.worker" in _command_line(pid)]

    def pullers(self) -> list[int]:
        """The process id of its puller, while one runs."""
        return [pid for pid in _children(self.pid) if "maas_agent.update" in _command_line(pid)]

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(WAIT_S)
        self._process = None
        return status

    def kill(self) -> None:
        """SIGKILL: what a power cut looks like from here."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        assert self._process is not None
        return self._process.wait(WAIT_S)

    def close(self) -> None:
        """End whatever is left, at the end of a test."""
        if self._process is not None:
            for pid in _children(self._process.pid):
                _signal(pid, signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.kill()


def _on_the_tests_runtime(pipelines: str) -> str:
    if RUNTIME == "auto" or "runtime = " in pipelines:
        return pipelines
    return pipelines.replace("[[pipeline]]\n", f'[[pipeline]]\nruntime = "{RUNTIME}"\n')


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def programs_of(worker: int) -> list[int]:
    """The programs that a worker has had started for its source."""
    return [program for starter in starters_of(worker) for program in _children(starter)]


def starters_of(worker: int) -> list[int]:
    """The process that a worker with a source has forked, to start the programs for it."""
    return _children(worker)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
