"""Inputs that ended two workers are kept, and not without end."""

import json
from pathlib import Path
from typing import Any

from maas_agent.base.log import Log
from maas_agent.hub.serving.dead_letters import MOST_BYTES, MOST_FILES, DeadLetters
from maas_agent.hub.serving.request import Nobody, Request


class Sender(Nobody):
    """A front end that has something to say of where its requests come from."""

    def origin(self) -> dict[str, Any]:
        return {"qos": 1}


def keep(dead_letters: DeadLetters, number: int, payload: bytes = b"poison") -> None:
    request = Request(f"id-{number}", payload, "image/png", 1000.0 + number, 0.0, Sender(), principal="gate")
    dead_letters.keep(request, "1.2.3", "d" * 64, "npu", "was killed by SIGSEGV")


def test_the_input_and_what_is_known_of_it_lie_side_by_side_and_are_not_for_everybody(tmp_path: Path) -> None:
    keep(DeadLetters(tmp_path, "digits", Log("test")), 1)
    (note,) = (tmp_path / "aside" / "digits").glob("*.json")
    payload = note.with_suffix(".bin")
    assert payload.read_bytes() == b"poison"
    known = json.loads(note.read_text())
    assert (known["id"], known["setup"], known["how"]) == ("id-1", "npu", "was killed by SIGSEGV")
    assert (known["qos"], known["principal"]) == (1, "gate")
    assert known["arrived"].startswith("1970-01-01T00:16:41")
    assert {path.stat().st_mode & 0o777 for path in (note, payload)} == {0o600}


def test_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    dead_letters = DeadLetters(tmp_path, "digits", Log("test"))
    for number in range(MOST_FILES + 5):
        keep(dead_letters, number)
    notes = sorted((tmp_path / "aside" / "digits").glob("*.json"))
    assert [json.loads(note.read_text())["id"] for note in notes] == [f"id-{n}" for n in range(5, MOST_FILES + 5)]
    assert len(list((tmp_path / "aside" / "digits").glob("*.bin"))) == MOST_FILES


def test_their_bytes_are_bounded_too_and_one_that_is_larger_is_known_without_its_content(tmp_path: Path) -> None:
    dead_letters = DeadLetters(tmp_path, "digits", Log("test"))
    for number in range(5):
        keep(dead_letters, number, bytes(MOST_BYTES // 3))
    keep(dead_letters, 9, bytes(MOST_BYTES + 1))
    folder = tmp_path / "aside" / "digits"
    assert sum(path.stat().st_size for path in folder.glob("*.bin")) <= MOST_BYTES
    assert json.loads(max(folder.glob("*.json")).read_text())["bytes"] == MOST_BYTES + 1
