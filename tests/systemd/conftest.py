"""A device as the README makes it: Debian with systemd, the package, the unit, a broker with accounts, a repository."""

import fcntl
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_converter.publishing import repository as publishing
from tests.system.repositories import Repository
from tests.systemd.container import Container
from tests.systemd.service import Service
from tests.trees.devices import device
from tests.trees.packages import ROOT

_CACHE = ROOT / ".cache" / "systemd"
_PACKAGES = ("systemd", "systemd-sysv", "mosquitto")
_TREES = {"x86_64": "amd64", "aarch64": "arm64"}


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Made once, which takes two minutes, and booted for the session."""
    ready = subprocess.run([ROOT / "scripts" / "test-systemd-ready"], capture_output=True, text=True)
    if ready.returncode != 0:
        pytest.skip(ready.stderr.strip())
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two sessions would change the same tree, and the same cgroups
        made = device(_TREES[platform.machine()], _CACHE, _PACKAGES)
        with Container(made.tree, tmp_path_factory.mktemp("container") / "console.log") as booted:
            yield booted


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's first step makes: the model, its data, and nothing published yet."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, ROOT / "examples" / "digits" / "train.py", folder, "--epochs", "5"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def repository(container: Container, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """With digits 1.0.0, on a web server in the container's network."""
    with container.network():
        served = Repository(tmp_path_factory.mktemp("repository"))
    bundle = digits / "digits-1.0.0.maas"
    named = ("--name", "digits", "--version", "1.0.0", "-o", bundle, "--keys", served.keys)
    data = ("--calibration", digits / "calibration.npz", "--evaluation", digits / "evaluation.npz")
    shape = ("--preprocess", ROOT / "examples" / "digits" / "preprocess.toml")
    command = [sys.executable, "-m", "maas_converter", "convert", digits / "digits.keras", *named, *data, *shape]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    publishing.publish(bundle, served.folder, served.keys, "stable")
    yield served
    served.close()


@pytest.fixture(scope="session")
def installed(container: Container, repository: Repository) -> Service:
    """Everything is there, and nothing has been started."""
    service = Service(container, repository)
    service.install()
    return service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """It runs as installed, and serves; whatever a test changes of its configuration is taken back."""
    installed.configure()
    installed.start()
    yield installed
    installed.restore()
