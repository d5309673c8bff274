"""Devices in emulated ARM trees, made once a session, and a broker outside."""

import fcntl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
def devices(request: pytest.FixtureRequest) -> Iterator[dict[str, TreeDevice]]:
    """Those that the chosen tests need, made side by side: each takes one processor for minutes."""
    ready = subprocess.run([ROOT / "scripts" / "test-arm-ready"], capture_output=True, text=True)
    if ready.returncode != 0:
        pytest.skip(ready.stderr.strip())
    chosen = {item.callspec.params.get("arm") for item in request.session.items if hasattr(item, "callspec")}
    names = [name for name in _ARM if name in chosen]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two sessions would change the same trees
        made = pool.map(partial(device, cache=_CACHE), names)
        yield dict(zip(names, made, strict=True))


@pytest.fixture(scope="session", params=_ARM)
def arm(request: pytest.FixtureRequest, devices: dict[str, TreeDevice]) -> TreeDevice:
    return devices[request.param]


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
