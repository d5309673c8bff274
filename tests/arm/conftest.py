"""Devices in emulated ARM trees, each made and tested by a process of its own, and a broker outside."""

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.brokers import MOSQUITTO, Mosquitto
from tests.system.console import Console
from tests.trees.debian import ARCHITECTURES
from tests.trees.devices import TreeDevice, device
from tests.trees.packages import ROOT

_CACHE = ROOT / ".cache" / "arm"
_ARM = [name for name in ARCHITECTURES if name.startswith("arm")]


@pytest.fixture(scope="session")
def ready() -> None:
    """Skips where this machine runs no ARM programs."""
    asked = subprocess.run([ROOT / "scripts" / "test-arm-ready"], capture_output=True, text=True)
    if asked.returncode != 0:
        pytest.skip(asked.stderr.strip())


# Emulated, a device takes one processor for minutes: with ``-n 2 --dist loadgroup`` each has one.
@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in _ARM])
def arm(request: pytest.FixtureRequest, ready: None) -> Iterator[TreeDevice]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / f"{request.param}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two sessions would change the same tree
        yield device(request.param, _CACHE)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto of this machine: a tree has this machine's loopback."""
    if MOSQUITTO is None:
        pytest.fail("Mosquitto is not installed: sudo apt install mosquitto")
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def console(broker: Mosquitto) -> Iterator[Console]:
    client = Console(broker.port)
    yield client
    client.close()
