"""Fixtures of the system tests: a broker, a console, devices, a repository behind a plain HTTP server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bundles import make_bundle
from tests.system.brokers import MOSQUITTO, Mosquitto
from tests.system.console import Console
from tests.system.device import Device
from tests.system.repositories import Repository

LOCAL = '[[pipeline]]\nname = "digits"\nbundle = "{bundle}"\nallow_unsigned = true\n'
MakeDevice = Callable[..., Device]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MOSQUITTO is not None:
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError("CI needs Mosquitto for the system tests: apt install mosquitto")
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="Mosquitto is not installed: sudo apt install mosquitto"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def console(broker: Mosquitto) -> Iterator[Console]:
    client = Console(broker.port)
    yield client
    client.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Device, Console]]:
    """One serving device for all tests of a module: for those that leave it as they found it."""
    folder = tmp_path_factory.mktemp("shared")
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    client = Console(mosquitto.port)
    made = make_bundle(folder / "digits-1.0.0.maas", "digits", "1.0.0", seed=1)
    device = Device(folder / "dev", mosquitto.url, LOCAL.format(bundle=made))
    device.start()
    client.wait("maas/dev/digits/state", lambda state: state["serving"])
    yield device, client
    device.close()
    client.close()
    mosquitto.stop()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "digits-1.0.0.maas", "digits", "1.0.0", seed=1)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    served = Repository(tmp_path)
    yield served
    served.close()


@pytest.fixture
def make_device(tmp_path: Path, broker: Mosquitto) -> Iterator[MakeDevice]:
    """Makes devices on the broker; each is ended with the test."""
    devices: list[Device] = []

    def make(pipelines: str, name: str = "dev", **options: str) -> Device:
        device = Device(tmp_path / name, broker.url, pipelines, device_id=name, **options)
        devices.append(device)
        return device

    yield make
    for device in devices:
        device.close()


@pytest.fixture
def serving(make_device: MakeDevice, console: Console, bundle: Path) -> Device:
    """A device ``dev`` that serves the pipeline ``digits`` from a local bundle."""
    device: Device = make_device(LOCAL.format(bundle=bundle))
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    return device
