"""An agent that ends in the middle of a command: whoever asked is told, and does not wait for ever."""

import socket
from collections.abc import Iterator

import pytest

from maas_agent.hub.api.commands import INTERRUPTED
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository

UPDATE = "maas/dev/cmd/update/1"


@pytest.fixture
def busy(make_device: MakeDevice, console: Console, repository: Repository) -> Iterator[Device]:
    """A device in the middle of an update, from a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = repository.settings.replace(repository.url, f"http://127.0.0.1:{silent.getsockname()[1]}")
        device: Device = make_device('[[pipeline]]\nname = "digits"\nmodel = "digits"\n', extra=settings)
        device.start()
        console.wait("maas/dev/status", lambda status: status["status"] == "online")
        console.publish(UPDATE, '{"status": "init", "note": "mine"}', retain=True)
        console.wait(UPDATE, lambda command: command["status"] == "executing")
        yield device
        device.close()


def told(console: Console) -> list[str]:
    return [message.document["status"] for message in console.on(UPDATE) if message.payload]


def test_a_command_that_a_kill_has_interrupted_is_failed_by_the_next_start(busy: Device, console: Console) -> None:
    busy.kill()
    busy.start()
    ended = console.wait(UPDATE, lambda command: command["status"] == "failed").document
    assert ended == {"status": "failed", "note": "mine", "reason": INTERRUPTED}
    assert told(console) == ["init", "executing", "failed"]
    # And nothing is left of it for the start after that.
    wait_until(lambda: not (busy.store / "commands.json").exists(), "the interrupted command is remembered for ever")


def test_a_command_that_a_stop_interrupts_is_failed_by_the_farewell(busy: Device, console: Console) -> None:
    assert busy.stop() == 0
    assert console.wait(UPDATE, lambda command: command["status"] == "failed").document["reason"] == INTERRUPTED
    console.wait("maas/dev/status", lambda status: status["status"] == "stopped")
    assert told(console) == ["init", "executing", "failed"]
    assert not (busy.store / "commands.json").exists()
