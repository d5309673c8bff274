"""For each attack a broker, a device and a repository of its own: none sees what another one left."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.scene import Scene, Start
from tests.system.brokers import MOSQUITTO, Mosquitto
from tests.system.console import Console


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    made = Start(folder / "scene")
    with _broker(folder) as broker, _console(broker) as console:
        made.install(broker.url, console)
    return made


@pytest.fixture
def scene(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    publisher = start.copy(tmp_path)
    with (
        _broker(tmp_path) as broker,
        _console(broker) as console,
        start.scene(tmp_path, publisher, broker.url, console) as ready,
    ):
        yield ready


@contextmanager
def _broker(folder: Path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        assert os.environ.get("CI") != "true", "CI needs Mosquitto for the attacks: apt install mosquitto"
        pytest.skip("Mosquitto is not installed: sudo apt install mosquitto")
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()


@contextmanager
def _console(broker: Mosquitto) -> Iterator[Console]:
    client = Console(broker.port)
    try:
        yield client
    finally:
        client.close()
