"""For each attack a broker, a device and a repository of its own: none sees what another one left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.scene import Scene, scene_in
from tests.system.brokers import MOSQUITTO, Mosquitto
from tests.system.console import Console


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("Mosquitto is not installed: sudo apt install mosquitto")
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def console(broker: Mosquitto) -> Iterator[Console]:
    client = Console(broker.port)
    yield client
    client.close()


@pytest.fixture
def scene(tmp_path: Path, broker: Mosquitto, console: Console, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with scene_in(tmp_path, broker.url, console) as ready:
        yield ready
