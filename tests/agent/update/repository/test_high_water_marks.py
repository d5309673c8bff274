"""What a device never goes below: rules on values, and the file they are in."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from maas_agent.errors import VerifyError
from maas_agent.update.repository.high_water_marks import (
    HighWaterMark,
    HighWaterMarks,
    Signed,
    load,
    raised,
    save,
    signed_time,
    trusted_time,
    without_rotated,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD, NEW = ("old-key",), ("new-key",)
SEEN = HighWaterMarks("anchor", 2, Signed(NOON, OLD), {"targets": HighWaterMark(7, OLD), "team": HighWaterMark(3, OLD)})


def silent(_: str) -> None:
    raise AssertionError("nothing was to be warned of")


@pytest.mark.parametrize("clock", [datetime(1970, 1, 1, tzinfo=UTC), NOON - timedelta(seconds=1)])
def test_a_clock_behind_what_was_signed_is_not_believed(clock: datetime) -> None:
    """No battery, no network time: the latest signature is later than that clock."""
    assert trusted_time(clock, SEEN) == NOON


def test_a_clock_ahead_of_what_was_signed_is_believed() -> None:
    """Time goes on between two signatures; and without any there is only the clock."""
    assert trusted_time(NOON + timedelta(days=1), SEEN) == NOON + timedelta(days=1)
    assert trusted_time(NOON, HighWaterMarks("anchor")) == NOON


@pytest.mark.parametrize(
    ("root", "roles", "reason"),
    [
        (1, {}, "the repository's root metadata is version 1, and this device has seen version 2"),
        (2, {"targets": HighWaterMark(6, OLD)}, "targets metadata is version 6, and this device has seen version 7"),
        (3, {"targets": HighWaterMark(9, OLD), "team": HighWaterMark(2, OLD)}, "team metadata is version 2"),
        # An old root, under which the role had other keys, does not get round the mark.
        (1, {"targets": HighWaterMark(6, NEW)}, "root metadata is version 1"),
    ],
)
def test_metadata_below_its_mark_is_a_replay(root: int, roles: dict[str, HighWaterMark], reason: str) -> None:
    """Whatever its signatures and dates say."""
    with pytest.raises(VerifyError, match=reason):
        raised(SEEN, root, None, roles)


def test_marks_only_rise_and_roles_that_were_not_looked_at_keep_theirs() -> None:
    """Another pipeline's role is still marked when that pipeline is asked for again."""
    earlier = Signed(NOON - timedelta(days=1), OLD)
    after = raised(SEEN, 3, earlier, {"targets": HighWaterMark(8, OLD)})
    assert after == HighWaterMarks(
        "anchor", 3, Signed(NOON, OLD), {"targets": HighWaterMark(8, OLD), "team": HighWaterMark(3, OLD)}
    )


def test_a_role_with_new_keys_begins_anew() -> None:
    """Who stole the old key may have signed version 2,000,000,000; the publisher must be able to recover."""
    assert raised(SEEN, 3, None, {"targets": HighWaterMark(1, NEW)}).roles["targets"] == HighWaterMark(1, NEW)


def test_a_time_said_by_rotated_keys_counts_no_more() -> None:
    """Who stole the timestamp key may have said the year 2099; but an old root changes nothing."""
    assert without_rotated(SEEN, NEW, root=3).signed_at is None
    assert without_rotated(SEEN, OLD, root=3).signed_at == Signed(NOON, OLD)
    assert without_rotated(SEEN, NEW, root=1).signed_at == Signed(NOON, OLD)


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    """And belong to the root file they were made under: another repository has another history."""
    save(tmp_path, SEEN)
    assert load(tmp_path, "anchor", silent) == SEEN
    assert load(tmp_path, "another root", silent) == HighWaterMarks("another root")


def test_what_an_older_agent_has_seen_counts_until_there_is_more(tmp_path: Path) -> None:
    """It kept its marks in the store itself: an update of the agent is no way to replay old metadata."""
    save(tmp_path, SEEN)
    (tmp_path / "updates" / "marks.json").rename(tmp_path / "marks.json")
    assert load(tmp_path, "anchor", silent) == SEEN
    (tmp_path / "updates" / "marks.json").write_bytes((tmp_path / "marks.json").read_bytes())
    (tmp_path / "marks.json").write_bytes(b"{")
    assert load(tmp_path, "anchor", silent) == SEEN


@pytest.mark.parametrize("place", ["updates", "."])
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"anchor": "a", "schema": 0}', b"\xff\xfe"])
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, damage: bytes, place: str) -> None:
    """It must not stop the device; the warning says what is lost."""
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "marks.json").write_bytes(damage)
    warnings: list[str] = []
    assert load(tmp_path, "anchor", warnings.append) == HighWaterMarks("anchor")
    assert (tmp_path / "updates" / "marks.json.damaged").read_bytes() == damage
    assert len(warnings) == 1 and "is told only by the files in tuf/ and by the clock" in warnings[0]


@pytest.mark.parametrize("root", [7, {"version": 7}], ids=["what is known", "something else"])
def test_a_newer_agents_file_is_no_damage_and_is_kept_for_it(tmp_path: Path, root: object) -> None:
    """After a downgrade what is known of it counts on: nothing that was seen may be offered again."""
    written = msgspec.json.encode({"anchor": "anchor", "schema": 2, "root": root, "seen_by": ["a newer rule"]})
    (tmp_path / "marks.json").write_bytes(written)
    warnings: list[str] = []
    marks = load(tmp_path, "anchor", warnings.append)
    assert marks == HighWaterMarks("anchor", root if isinstance(root, int) else 0)
    assert len(warnings) == 1 and "is of a newer maas-agent (schema 2)" in warnings[0]
    save(tmp_path, marks)
    assert (tmp_path / "updates" / "marks.json.newer").read_bytes() == written
    assert load(tmp_path, "anchor", silent) == marks and not (tmp_path / "marks.json.damaged").exists()


def test_signed_at_is_a_time_before_the_expiry_or_refused() -> None:
    """It becomes the floor of the device's clock, so nonsense is not taken."""
    expires = NOON + timedelta(days=7)
    assert signed_time("2026-11-25T12:00:00Z", expires) == NOON
    assert signed_time(None, expires) is None
    with pytest.raises(VerifyError, match="no time"):
        signed_time("yesterday", expires)
    with pytest.raises(VerifyError, match="after it expired"):
        signed_time("2099-01-01T00:00:00Z", expires)
