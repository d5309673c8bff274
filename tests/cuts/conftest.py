"""For each scenario a broker, a repository and a device of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cuts.rig import Rig, compiled
from tests.cuts.scenarios import SCENARIOS, Scenario
from tests.system.brokers import Mosquitto, running
from tests.system.console import Console
from tests.system.device import Device
from tests.system.repositories import Repository


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as mosquitto:
        yield mosquitto


@pytest.fixture
def library(tmp_path: Path) -> Path:
    if shutil.which("gcc") is None:
        assert os.environ.get("CI") != "true", "CI needs a C compiler for the cuts: apt install gcc"
        pytest.skip("there is no C compiler: sudo apt install gcc")
    return compiled(tmp_path)


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """The one that the test is parametrized with, by name."""
    return SCENARIOS[request.param]


@pytest.fixture
def rig(scenario: Scenario, broker: Mosquitto, library: Path, tmp_path: Path) -> Iterator[Rig]:
    repository = Repository(tmp_path)
    # What records in the puller writes beside the store, and signals the hub: neither may one that is confined.
    free = repository.settings + "confine = false\n"
    device = Device(tmp_path / "dev", broker.url, scenario.pipeline, extra=free)
    with closing(repository), closing(Console(broker.port)) as console, closing(device):
        prepared = _prepared(scenario, repository, device, console, tmp_path / "prepared")
        repository.publish("digits", scenario.newest, **scenario.bundle)
        yield Rig(scenario, device, console, repository, library, prepared)


def _prepared(
    scenario: Scenario, repository: Repository, device: Device, console: Console, folder: Path
) -> Path | None:
    """The store of a device that has taken the versions before, one after the other."""
    for seed, version in enumerate(scenario.before, 1):
        repository.publish("digits", version, seed=seed)
        console.forget()
        device.start()
        console.wait(
            "maas/dev/digits/state",
            lambda s, version=version: s["serving"] and s["active"] and s["active"]["version"] == version,
        )
        assert device.stop() == 0
    if not scenario.before:
        return None
    shutil.copytree(device.store, folder, symlinks=True)
    return folder
