"""Commands as thin-edge.io does them."""

import json
from typing import Any

import pytest

from maas_agent.hub import commands as commands_module
from maas_agent.hub.commands import MAX_BURST, MAX_BYTES, MAX_RUNNING, Commands, Finish
from maas_agent.hub.topics import Command
from tests.agent.hub.doubles import Lines, Monotonic

UPDATE = Command("update", "1")


class Device:
    """Keeps the documents and the commands that have begun."""

    def __init__(self) -> None:
        self.log = Lines()
        self.documents: list[tuple[Command, dict[str, Any]]] = []
        self.begun: list[tuple[dict[str, Any], Finish]] = []
        self.commands = Commands(
            {
                "update": lambda request, finish: self.begun.append((request, finish)),
                "beep": lambda _, done: done(None, {}),
            },
            lambda command, document: self.documents.append((command, document)),
            self.log,
        )

    def hear(self, payload: Any, command: Command = UPDATE) -> None:
        self.commands.received(command, payload if isinstance(payload, bytes) else json.dumps(payload).encode())

    @property
    def statuses(self) -> list[str]:
        return [document["status"] for _, document in self.documents]


@pytest.fixture
def device() -> Device:
    return Device()


def test_a_command_is_executing_then_successful_with_its_own_fields_kept(device: Device) -> None:
    device.hear({"status": "init", "note": "mine"})
    assert device.documents == [(UPDATE, {"status": "executing", "note": "mine"})]
    device.begun[0][1](None, {"pipelines": 2})
    assert device.documents[1] == (UPDATE, {"status": "successful", "note": "mine", "pipelines": 2})


def test_a_command_that_fails_says_why(device: Device) -> None:
    device.hear({"status": "init"})
    device.begun[0][1]("no server", {})
    assert device.documents[-1][1] == {"status": "failed", "reason": "no server"}


def test_a_command_that_ends_at_once_is_still_executing_first(device: Device) -> None:
    device.hear({"status": "init"}, Command("beep", "1"))
    assert device.statuses == ["executing", "successful"]


def test_an_unknown_command_fails_with_those_there_are(device: Device) -> None:
    device.hear({"status": "init"}, Command("reboot", "1"))
    ((_, document),) = device.documents
    assert document["status"] == "failed" and "beep, update" in document["reason"]
    assert device.begun == []


def test_our_own_answers_and_garbage_are_no_requests(device: Device) -> None:
    """They come back on the very topic they were published on."""
    for payload in (
        *({"status": "executing"}, {"status": "successful"}, {"status": "failed"}, {}, [], "init", {"status": 1}),
        *(b"", b"{", b"\xff", b"[" * 60_000, b'{"status": "init", "x": "' + b"x" * MAX_BYTES + b'"}'),
    ):
        device.hear(payload)
    assert (device.documents, device.begun) == ([], [])


def test_a_command_that_runs_is_not_begun_again_and_one_that_ended_is(device: Device) -> None:
    device.hear({"status": "init"})
    device.hear({"status": "init"})
    assert len(device.begun) == 1
    device.begun[0][1](None, {})
    device.hear({"status": "init"})
    assert len(device.begun) == 2


def test_too_many_commands_at_once_are_refused_until_one_ends(device: Device) -> None:
    for number in range(20):
        device.hear({"status": "init"}, Command("update", str(number)))
    assert len(device.begun) == MAX_RUNNING == 16
    assert device.statuses.count("failed") == 4
    assert "too many" in device.documents[-1][1]["reason"]
    device.begun[0][1](None, {})
    device.hear({"status": "init"}, Command("update", "99"))
    assert len(device.begun) == 17


@pytest.mark.parametrize("name", ["beep", "no-such", "update"])
def test_a_storm_of_commands_is_not_one_of_answers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Every answer is a retained message that somebody has to clear: most of a storm gets none."""
    clock = Monotonic()
    monkeypatch.setattr(commands_module, "time", clock)
    device = Device()
    for number in range(10_000):
        device.hear({"status": "init"}, Command(name, str(number)))
    assert len({command for command, _ in device.documents}) == MAX_BURST
    assert device.log.events.count("more commands than are dealt with: the rest is not answered") == 1
    assert len(device.log.events) <= MAX_BURST + 1
    clock.now += 3.0
    for number in range(10):
        device.hear({"status": "init"}, Command(name, f"later-{number}"))
    assert len({command for command, _ in device.documents}) == MAX_BURST + 3


def test_a_request_that_is_nested_too_deep_is_none(device: Device) -> None:
    """It could just be read, and what was made of it could not be written any more: that ended the agent."""
    for depth in (17, 900, 980, 985, 988, 989, 990, 991, 992, 993, 5000):
        device.hear(b'{"status": "init", "more": ' + b"[" * depth + b"]" * depth + b"}")
    assert device.documents == device.begun == []
    device.hear(b'{"status": "init", "more": [[{"a": []}]]}')
    assert device.statuses == ["executing"]
