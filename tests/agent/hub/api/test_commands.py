"""Commands as thin-edge.io does them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maas_agent.hub.api import commands as commands_module
from maas_agent.hub.api.commands import INTERRUPTED, MAX_BURST, MAX_BYTES, MAX_RUNNING, Commands, Finish
from maas_agent.hub.api.topics import Command
from maas_agent.hub.api.unfinished_commands import NAME, UnfinishedCommands
from tests.agent.hub.doubles import Lines, Monotonic

UPDATE = Command("update", "1")


class Device:
    """Keeps the documents and the commands that have begun, and what is safe of them."""

    def __init__(self, store: Path) -> None:
        self.log, self.unfinished = Lines(), UnfinishedCommands(store, Lines())
        self.on_safe: list[Callable[[], None]] = []
        self.documents: list[tuple[Command, dict[str, Any]]] = []
        self.begun: list[tuple[dict[str, Any], Finish]] = []
        self.commands = Commands(
            {
                "update": lambda request, finish: self.begun.append((request, finish)),
                "beep": lambda _, done: done(None, {}),
            },
            self.publish,
            self.unfinished,
            self.log,
        )

    def publish(self, command: Command, document: dict[str, Any], on_safe: Callable[[], None] | None) -> None:
        self.documents.append((command, document))
        self.on_safe += [on_safe] if on_safe else []

    def hear(self, payload: Any, command: Command = UPDATE) -> None:
        self.commands.received(command, payload if isinstance(payload, bytes) else json.dumps(payload).encode())

    @property
    def statuses(self) -> list[str]:
        return [document["status"] for _, document in self.documents]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


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
def test_a_storm_of_commands_is_not_one_of_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Every answer is a retained message that somebody has to clear: most of a storm gets none."""
    clock = Monotonic()
    monkeypatch.setattr(commands_module, "time", clock)
    device = Device(tmp_path)
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


def test_what_was_under_way_when_the_agent_was_killed_is_failed_by_the_next_one(tmp_path: Path) -> None:
    """Whoever waits for it would wait for ever; one that has not begun, or has ended, is left alone."""
    first = Device(tmp_path)
    first.hear({"status": "init", "note": "mine"})
    first.hear({"status": "init"}, Command("reboot", "1"))
    first.unfinished.save()
    again = Device(tmp_path)
    again.commands.resume()
    assert again.documents == [(UPDATE, {"status": "failed", "note": "mine", "reason": INTERRUPTED})]
    assert INTERRUPTED.startswith("interrupted by a restart")
    again.on_safe[0]()
    again.unfinished.save()
    assert not (tmp_path / NAME).exists()
    Device(tmp_path).commands.resume()


def test_an_end_that_was_not_safe_when_the_agent_was_killed_is_said_again_as_it_was(tmp_path: Path) -> None:
    first = Device(tmp_path)
    first.hear({"status": "init"})
    first.begun[0][1](None, {"pipelines": 2})
    first.unfinished.save()
    again = Device(tmp_path)
    again.commands.resume()
    assert again.documents == [(UPDATE, {"status": "successful", "pipelines": 2})]


def test_a_stop_says_that_it_interrupts_and_what_ends_afterwards_says_nothing(device: Device) -> None:
    device.hear({"status": "init"})
    device.commands.interrupt()
    device.begun[0][1]("the puller was killed by SIGKILL", {})
    assert device.documents[1:] == [(UPDATE, {"status": "failed", "reason": INTERRUPTED})]


def test_a_command_that_begins_anew_is_not_forgotten_when_its_former_end_is_safe(
    device: Device, tmp_path: Path
) -> None:
    device.hear({"status": "init"})
    device.begun[0][1](None, {})
    device.hear({"status": "init"})
    device.on_safe[0]()
    device.unfinished.save()
    assert [row["document"]["status"] for row in json.loads((tmp_path / NAME).read_bytes())] == ["executing"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'[{"name": 1}]', b"\xff"])
def test_a_damaged_record_is_logged_and_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / NAME).write_bytes(damage)
    log = Lines()
    unfinished = UnfinishedCommands(tmp_path, log)
    assert unfinished.load() == {}
    assert log.told == [("error", "cannot read which commands were interrupted")]
    unfinished.save()
    assert UnfinishedCommands(tmp_path, log).load() == {} and len(log.lines) == 1


def test_a_disk_that_takes_nothing_stops_no_command(tmp_path: Path) -> None:
    log = Lines()
    unfinished = UnfinishedCommands(tmp_path / "no-such-folder", log)
    unfinished.said(UPDATE, {"status": "executing"})
    unfinished.save()
    unfinished.save()
    assert log.told == [("error", "cannot save which commands are under way")]
