"""A publisher with keys and a repository, a web server that serves it, and a device that trusts it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.repository import Published, init_repository, publish
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, serving
from tests.bundles import make_bundle

Publish = Callable[..., Published]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publisher") / "keys"
    create_keys(folder)
    return folder


@pytest.fixture
def repository(tmp_path: Path, keys: Path) -> Path:
    folder = tmp_path / "repository"
    init_repository(folder, keys)
    return folder


@pytest.fixture
def published(tmp_path: Path, repository: Path, keys: Path) -> Publish:
    """Make a bundle and publish it: ``published("1.0.0", seed=1, channel="beta")``."""

    def make(version: str = "1.0.0", channel: str = "stable", name: str = "digits", **details: Any) -> Published:
        path = make_bundle(tmp_path / f"{name}-{version}.maas", name, version, **details)
        return publish(path, repository, keys, channel)

    return make


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A repository of its own, by someone who can sign anything."""
    return Publisher(tmp_path / "published")


@pytest.fixture
def its_site(publisher: Publisher) -> Iterator[Site]:
    with serving(publisher.folder) as site:
        yield site


@pytest.fixture
def its_device(tmp_path: Path, publisher: Publisher, its_site: Site) -> Device:
    """A device that trusts the publisher."""
    root = tmp_path / "its-root.json"
    root.write_bytes((publisher.folder / "metadata" / "root.json").read_bytes())
    return Device(tmp_path / "its-store", root, its_site.url)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(repository: Path) -> Iterator[Site]:
    with serving(repository) as site:
        yield site


@pytest.fixture
def device(tmp_path: Path, repository: Path, site: Site) -> Device:
    root = tmp_path / "root.json"
    root.write_bytes((repository / "metadata" / "root.json").read_bytes())
    return Device(tmp_path / "store", root, site.url)
