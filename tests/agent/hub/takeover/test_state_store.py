"""The file of a pipeline's state: saved, damaged, of another agent, left behind."""

from pathlib import Path

import msgspec
import pytest

from maas_agent.bundle import schema
from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import DataError
from maas_agent.hub.takeover import pipeline_state, state_store
from maas_agent.hub.takeover.pipeline_state import (
    IllegalTransition,
    PipelineState,
    Slot,
    UpdateState,
    activated,
    failed,
    rolled_back,
)
from maas_agent.hub.takeover.state_store import load, path_of, save
from maas_agent.update.protocol import Outcome, State
from tests.agent.hub.takeover.states import ONE, RUNNING, STEPS, TWO, after, outcome
from tests.bundles import make_bundle


def never(sentence: str) -> None:
    raise AssertionError(sentence)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """And a pipeline nobody has heard of is fresh."""
    assert load(tmp_path, "p", never) == PipelineState()
    save(tmp_path, "p", RUNNING)
    assert load(tmp_path, "p", never) == RUNNING


@pytest.mark.parametrize("interrupted", ["pulling", "verifying", "staged", "testing", "shadow"])
def test_an_update_that_a_cut_interrupted_starts_over(tmp_path: Path, interrupted: State) -> None:
    """What is active stays; what failed before is still refused."""
    update = UpdateState(interrupted, "2.0.0", None, 5.0)
    save(tmp_path, "p", PipelineState(active=ONE, candidate=TWO, update=update, refused={"9": "no"}))
    state = load(tmp_path, "p", never)
    assert state == PipelineState(active=ONE, update=UpdateState(since=5.0), refused={"9": "no"})


def test_a_bundle_on_probation_while_the_device_goes_down_again_and_again_is_set_aside(tmp_path: Path) -> None:
    """It may be what takes the device down. A stop in good order is nobody's fault, and success wipes the slate."""
    state = RUNNING
    for count in (1, 2):
        on_probation = pipeline_state.tested(after(state, *STEPS), outcome("tested"), 20.0)
        assert pipeline_state.stopped(on_probation).interrupted == on_probation.interrupted
        save(tmp_path, "p", on_probation)
        state = load(tmp_path, "p", never)
        assert (state.active, state.candidate, state.interrupted) == (ONE, None, {TWO.digest: count})
    on_probation = pipeline_state.tested(after(state, *STEPS), outcome("tested"), 20.0)
    assert activated(on_probation, 21.0).interrupted == {}
    save(tmp_path, "p", on_probation)
    state = load(tmp_path, "p", never)
    assert (state.active, state.update.state) == (ONE, "rolled_back")
    assert state.refused == {TWO.digest: "the device went down 3 times while it was on probation"}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"active": 7}', b"\xff\xfe"])
def test_a_damaged_state_is_set_aside_and_said(tmp_path: Path, damage: bytes) -> None:
    """The pipeline starts afresh rather than not at all."""
    path_of(tmp_path, "p").parent.mkdir()
    path_of(tmp_path, "p").write_bytes(damage)
    said: list[str] = []
    assert load(tmp_path, "p", said.append) == PipelineState()
    assert len(said) == 1 and "p.json.damaged" in said[0]
    assert path_of(tmp_path, "p").with_name("p.json.damaged").read_bytes() == damage
    # What it ran is unknown until something is active: nothing may be collected, also after the next start.
    assert state_store.is_lost(tmp_path, "p", load(tmp_path, "p", never))
    assert not state_store.is_lost(tmp_path, "p", RUNNING)


KNOWN = PipelineState(active=TWO, previous=ONE, refused={"9": "no"}, revoked={"0.1.0": "leaks"})


@pytest.mark.parametrize("damage", [b"", b"{", b'{"active": 7}', b"\xff\xfe", b"[" * 100_000])
def test_the_copy_of_a_damaged_state_knows_what_runs(tmp_path: Path, damage: bytes) -> None:
    """Written before the state, whenever a bundle changes; the damaged file is kept for whoever wants to look."""
    save(tmp_path, "p", msgspec.structs.replace(KNOWN, update=UpdateState("active", "2.0.0", None, 9.0)))
    path = path_of(tmp_path, "p")
    path.write_bytes(damage)
    said: list[str] = []
    assert load(tmp_path, "p", said.append) == KNOWN
    assert len(said) == 1 and "known from its copy" in said[0]
    assert path.with_name("p.json.damaged").read_bytes() == damage
    assert load(tmp_path, "p", never) == KNOWN


def test_a_copy_is_written_only_when_a_bundle_changes(tmp_path: Path) -> None:
    """Steps of an update cost one file each; and a damaged copy is made anew."""
    save(tmp_path, "p", RUNNING)
    copy = path_of(tmp_path, "p").with_name("p.json.copy")
    written = copy.stat().st_ino
    save(tmp_path, "p", after(RUNNING, *STEPS))
    assert copy.stat().st_ino == written
    copy.write_bytes(b"{")
    save(tmp_path, "p", RUNNING)
    assert load(tmp_path, "p", never) == RUNNING and copy.stat().st_ino != written


def test_a_state_with_one_wrong_digit_gives_way_to_the_copy_that_names_what_is_here(tmp_path: Path) -> None:
    """Still a document, and nobody has ever had such a bundle."""
    (tmp_path / "blobs").mkdir()
    manifest = b"a manifest"
    here = Slot("1.0.0", digest_of(manifest))
    (tmp_path / "blobs" / here.digest).write_bytes(manifest)
    save(tmp_path, "p", PipelineState(active=here))
    path = path_of(tmp_path, "p")
    path.write_bytes(path.read_bytes().replace(here.digest.encode(), here.digest[::-1].encode()))
    said: list[str] = []
    assert load(tmp_path, "p", said.append).active == here and len(said) == 1
    # A cut between the copy and the state: what had not begun to be active is not.
    path.write_bytes(msgspec.json.encode(PipelineState()))
    assert load(tmp_path, "p", never).active is None


def test_a_removed_state_is_a_fresh_start_whatever_its_copy_says(tmp_path: Path) -> None:
    """That is how a person starts over."""
    save(tmp_path, "p", RUNNING)
    path_of(tmp_path, "p").unlink()
    assert load(tmp_path, "p", never) == PipelineState()


def test_the_state_of_a_newer_agent_is_understood_as_far_as_it_goes_and_left_alone(tmp_path: Path) -> None:
    """Until a bundle changes: then what it wrote is kept beside."""
    active = {"version": "2.0.0", "digest": TWO.digest, "trials": {"rows": "of another form"}}
    newer = msgspec.json.encode({"active": active, "update": {"state": "levitating"}, "refused": {"9": "no"}})
    path = path_of(tmp_path, "p")
    path.parent.mkdir()
    path.write_bytes(newer)
    said: list[str] = []
    state = load(tmp_path, "p", said.append)
    assert state == PipelineState(active=TWO, refused={"9": "no"})
    assert len(said) == 1 and "a newer one has written" in said[0]
    away = Outcome(pipeline="p", result="failed", state="init", reason="server down")
    save(tmp_path, "p", failed(state, away, 20.0))
    assert path.read_bytes() == newer and not path.with_name("p.json.damaged").exists()
    save(tmp_path, "p", PipelineState(active=ONE))
    assert load(tmp_path, "p", never).active == ONE
    assert path.with_name("p.json.newer").read_bytes() == newer


def test_what_other_names_have_left_behind_is_known(tmp_path: Path) -> None:
    """A pipeline that was renamed."""
    save(tmp_path, "old", KNOWN)
    assert state_store.left_behind(tmp_path, {"new"}) == {ONE.digest, TWO.digest}
    assert state_store.left_behind(tmp_path, {"new", "old"}) == set()
    path_of(tmp_path, "old").write_bytes(b"{")
    assert state_store.left_behind(tmp_path, {"new"}) == {ONE.digest, TWO.digest}
    path_of(tmp_path, "old").with_name("old.json.copy").unlink()
    assert state_store.left_behind(tmp_path, {"new"}) is None


def test_a_state_that_cannot_be_read_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    """A folder in its place, a card that fails: forgetting what runs would be worse than stopping."""
    path_of(tmp_path, "p").mkdir(parents=True)
    with pytest.raises(DataError, match="cannot read the state of pipeline 'p'"):
        load(tmp_path, "p", never)


def test_a_bundle_of_a_newer_agent_has_a_stand_in_until_that_one_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downgrade needs nothing: the bundle before it serves; and so does the upgrade that follows."""
    before, newer = _kept_manifest(tmp_path, "1.0.0", 1), _kept_manifest(tmp_path, "2.0.0", schema.NEWEST + 1)
    state = PipelineState(active=newer, previous=before, update=UpdateState("active", "2.0.0", None, 5.0))
    save(tmp_path, "p", state)
    said: list[str] = []
    for _ in range(2):  # whether it is saved before the next start or not
        stands_in = load(tmp_path, "p", said.append)
        assert (stands_in.active, stands_in.previous, stands_in.refused) == (before, newer, {})
        assert stands_in.update.state == "rolled_back" and "update maas-edge" in str(stands_in.update.reason)
        assert stands_in.digests() == {before.digest, newer.digest}, "what is of no use now is no garbage"
    assert len(said) == 2 and "2.0.0, which is active, is of a newer agent" in said[0]
    assert "1.0.0 serves in its place" in said[0]
    save(tmp_path, "p", stands_in)
    assert load(tmp_path, "p", never) == stands_in
    with pytest.raises(IllegalTransition, match=r"2\.0\.0 is no way back, this agent cannot read it"):
        rolled_back(stands_in, "somebody asked for it", 6.0)
    monkeypatch.setattr(schema, "NEWEST", schema.NEWEST + 1)
    again = load(tmp_path, "p", never)
    assert (again.active, again.previous, again.update.state) == (newer, before, "active")


def test_without_a_bundle_that_it_can_read_an_agent_changes_nothing(tmp_path: Path) -> None:
    """It says what it lacks, and serves as soon as somebody brings it or the newer agent."""
    newer = [_kept_manifest(tmp_path, version, schema.NEWEST + 1) for version in ("2.0.0", "1.0.0")]
    for previous in (None, newer[1]):
        state = PipelineState(active=newer[0], previous=previous, update=UpdateState("active", "2.0.0", None, 5.0))
        save(tmp_path, "p", state)
        assert load(tmp_path, "p", never) == state


def test_what_was_set_aside_for_its_schema_is_offered_again_to_an_agent_that_reads_it(tmp_path: Path) -> None:
    unread = "digits 2.0.0: manifest has schema 2, this program reads 1: update maas-edge on this machine"
    state = msgspec.structs.replace(RUNNING, refused={"2" * 64: unread, "3" * 64: "output 'scores' deviates by 5"})
    save(tmp_path, "p", state)
    assert load(tmp_path, "p", never).refused == {"3" * 64: "output 'scores' deviates by 5"}


def _kept_manifest(store: Path, version: str, stated: int) -> Slot:
    """The manifest of a real bundle in the store, with this schema."""
    with open_bundle(make_bundle(store / "made.maas", version=version)) as bundle:
        document = msgspec.json.decode(bundle.manifest_bytes) | {"schema": stated}
    data = msgspec.json.encode(document)
    (store / "blobs").mkdir(exist_ok=True)
    (store / "blobs" / digest_of(data)).write_bytes(data)
    return Slot(version, digest_of(data))
