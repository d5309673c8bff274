"""For each attack a broker, a device and a repository of its own: none sees what another one left."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks.scene import Scene, Start
from tests.system.brokers import running
from tests.system.console import Console


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("start")
    made = Start(folder / "scene")
    with running(folder) as broker, closing(Console(broker.port)) as console:
        made.install(broker.url, console)
    return made


@pytest.fixture
def scene(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    publisher = start.copy(tmp_path)
    with (
        running(tmp_path) as broker,
        closing(Console(broker.port)) as console,
        start.scene(tmp_path, publisher, broker.url, console) as ready,
    ):
        yield ready
