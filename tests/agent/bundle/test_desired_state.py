"""The desired state: what a device makes of what was published."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas_agent.bundle.desired_state import (
    MAX_BYTES,
    MAX_LEVELS,
    Choice,
    Desired,
    DesiredModel,
    Document,
    Topic,
    chosen,
    decode_desired,
    encode_desired,
    load,
    path_of,
    position,
    received,
    save,
)
from maas_agent.errors import DataError

ONE, TWO, NOT_ONE = DesiredModel(version="1.0.0"), DesiredModel(version="2.0.0"), DesiredModel(withdrawn=("1.0.0",))
OWN, FIRST, SECOND = "maas/dev/desired", "maas/groups/a/desired", "maas/groups/b/desired"


def document(serial: int = 1, **wishes: DesiredModel) -> bytes:
    return encode_desired(Document(serial, wishes))


def desired(**payloads: bytes) -> Desired:
    known: Desired = {}
    for name, payload in payloads.items():
        known = received(known, {"own": OWN, "first": FIRST, "second": SECOND}[name], payload)
    return known


def choice(known: Desired, device: str = "dev") -> Choice:
    return chosen(known, OWN, device, "digits")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (desired(), Choice()),
        (desired(own=document(digits=ONE)), Choice("1.0.0")),
        (desired(own=document(letters=ONE)), Choice()),
        (desired(own=document(5, digits=ONE), first=document(9, digits=TWO)), Choice("1.0.0")),
        (desired(own=document(5, letters=ONE), first=document(9, digits=TWO)), Choice("2.0.0")),
        (desired(first=document(5, digits=ONE), second=document(9, digits=TWO)), Choice("2.0.0")),
        (desired(first=document(9, digits=ONE), second=document(5, digits=TWO)), Choice("1.0.0")),
        (desired(first=document(digits=DesiredModel(version="1.0.0", percent=0))), Choice()),
        (desired(first=document(digits=NOT_ONE)), Choice(None, frozenset({"1.0.0"}))),
        (
            desired(own=document(digits=ONE), first=document(digits=NOT_ONE)),
            Choice(None, frozenset({"1.0.0"})),
        ),
    ],
)  # fmt: skip
def test_a_devices_own_topic_wins_then_the_newest_group_and_what_is_withdrawn_is_withdrawn(
    known: Desired, expected: Choice
) -> None:
    assert choice(known) == expected


def test_a_percentage_is_the_same_devices_every_time_and_a_larger_one_has_all_of_them() -> None:
    devices = [f"device-{number}" for number in range(2000)]

    def taken(percent: float, salt: str = "r1") -> set[str]:
        known = desired(first=document(digits=DesiredModel(version="1.0.0", percent=percent, salt=salt)))
        return {device for device in devices if choice(known, device).version}

    assert taken(0) == set() and taken(100) == set(devices)
    assert taken(5) == taken(5) and taken(5) < taken(25) < taken(100)
    assert 0.03 < len(taken(5)) / 2000 < 0.07 and 0.22 < len(taken(25)) / 2000 < 0.28
    assert taken(25) != taken(25, "r2")  # another rollout begins with others


def test_positions_are_what_they_always_were() -> None:
    """Devices of all versions and ``deploy`` have to agree: sha256("r1/gate-1") begins with these eight bytes."""
    assert position("r1", "gate-1") == int("793459a3cb21fb86", 16) / 2**64 * 100


def test_an_older_document_that_comes_up_again_is_refused_also_after_it_was_taken_back() -> None:
    known = desired(own=document(7, digits=DesiredModel(version="2.0.0")))
    for state in (known, received(known, OWN, b"")):
        with pytest.raises(DataError, match="its serial 6 is older than 7, which was here already: a replay"):
            received(state, OWN, document(6, digits=DesiredModel(version="1.0.0")))
    assert choice(received(known, OWN, b"")) == Choice()
    assert choice(received(known, OWN, document(7, digits=DesiredModel(version="2.1.0")))).version == "2.1.0"
    assert choice(received(known, FIRST, document(1, digits=DesiredModel(version="1.0.0")))).version == "2.0.0"


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"[]",
        b"\xff",
        b"[" * 60_000,
        b'{"models": {}}',
        b'{"serial": -1}',
        b'{"serial": 1.5}',
        b'{"serial": 1e400}',
        b'{"serial": 99999999999999999999}',
        b'{"serial": 1, "models": []}',
        b'{"serial": 1, "models": {"digits": {"version": "latest"}}}',
        b'{"serial": 1, "models": {"digits": {"version": 1}}}',
        b'{"serial": 1, "models": {"digits": {"percent": 101}}}',
        b'{"serial": 1, "models": {"digits": {"percent": "5%"}}}',
        b'{"serial": 1, "models": {"digits": {"withdrawn": ["x"]}}}',
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_document_is_refused(payload: bytes) -> None:
    with pytest.raises(DataError):
        decode_desired(payload)


def test_fields_of_a_later_release_are_ignored() -> None:
    payload = b'{"serial": 1, "new": 1, "models": {"digits": {"version": "1.0.0", "rollout": {"x": 1}, "other": []}}}'
    assert decode_desired(payload).models["digits"].version == "1.0.0"


def test_what_was_desired_is_desired_after_a_restart(tmp_path: Path) -> None:
    assert load(tmp_path, [OWN]) == {}
    known = desired(own=document(7, digits=DesiredModel(version="2.0.0")), first=document(3))
    save(tmp_path, known)
    assert load(tmp_path, [OWN, FIRST]) == known
    assert load(tmp_path, [OWN]) == {OWN: known[OWN]}  # it is in that group no more
    path_of(tmp_path).write_bytes(b"{")
    with pytest.raises(DataError, match=r"desired\.json cannot be read"):
        load(tmp_path, [OWN])


def test_a_topic_without_a_document_keeps_its_serial(tmp_path: Path) -> None:
    save(tmp_path, {OWN: Topic(5)})
    assert load(tmp_path, [OWN])[OWN] == Topic(5)
    assert msgspec.json.decode(path_of(tmp_path).read_bytes())[OWN]["serial"] == 5


def test_notes_of_an_operator_that_are_nested_too_deep_are_refused() -> None:
    """64 KiB of them became megabytes on the disk, indented; or could not be written, which ended the agent."""
    deep: Any = []
    for _ in range(MAX_LEVELS):
        deep = [deep]
    with pytest.raises(DataError, match="nested in more than"):
        decode_desired(document(m=DesiredModel(rollout={"a": deep})))
    assert decode_desired(document(m=DesiredModel(rollout={"a": {"b": [1]}}))).models["m"].rollout == {"a": {"b": [1]}}


def test_the_largest_document_that_is_read() -> None:
    largest = b'{"serial": 1, "models": {}, "x": "' + b"x" * (MAX_BYTES - 36) + b'"}'
    assert len(largest) == MAX_BYTES and decode_desired(largest) == Document(1, {})
    with pytest.raises(DataError, match=r"^it has 65537 bytes, at most 65536 are read$"):
        decode_desired(largest + b" ")
    with pytest.raises(DataError, match="missing required field `serial`"):
        decode_desired(b"{}")


def test_a_device_at_the_very_end_of_the_percentage_is_not_in_it() -> None:
    at = position("r1", "gate-1")
    for percent, version in ((at, None), (at + 1e-9, "2.0.0")):
        wish = DesiredModel(version="2.0.0", percent=percent, salt="r1")
        state = received({}, "own", encode_desired(Document(1, {"digits": wish})))
        assert chosen(state, "own", "gate-1", "digits").version == version


def test_what_a_document_says_without_saying_it() -> None:
    assert (MAX_LEVELS, MAX_BYTES) == (8, 65536)
    assert DesiredModel() == DesiredModel(version=None, percent=100.0, salt="", withdrawn=())
    assert Topic() == Topic(-1, None)
