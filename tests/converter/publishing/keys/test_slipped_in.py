"""A repository in a folder that others can write to: nothing gets signed by lying there."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata

from maas_agent.errors import DataError, NoInputError, UsageError
from maas_converter.cli import main
from maas_converter.publishing.keys.key_files import create_keys, load_signer
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.reading import load
from maas_converter.publishing.release import complete
from maas_converter.publishing.repository import init_repository, publish, refresh_repository, revoke
from maas_converter.publishing.trust import delegate, rotate
from maas_converter.publishing.verify import verify
from tests.converter.publisher import ONLINE, bundle, offered, some


@pytest.fixture
def bob(tmp_path: Path, keys: Path) -> Path:
    """A second person with keys of targets and root, whose public halves the first has."""
    folder = tmp_path / "bob"
    create_keys(folder, roles=("root", "targets"), name="bob")
    for path in folder.glob("*.pub"):
        shutil.copy(path, keys)
    return folder


def slip_in(path: Path, change: Callable[[Any], object], signer: Signer | None = None) -> None:
    """Change a metadata file as somebody who can write to the folder; the signatures stay, or are his own."""
    metadata = Metadata[Any].from_file(str(path))
    change(metadata.signed)
    if signer is not None:
        metadata.sign(signer)
    path.write_bytes(metadata.to_bytes())


@pytest.mark.parametrize("with_a_key", [False, True])
@pytest.mark.parametrize("name", ["2.targets", "2.snapshot", "timestamp", "1.root", "2.team"])
def test_what_was_slipped_into_the_folder_is_never_signed(
    tmp_path: Path, keys: Path, repository: Path, name: str, with_a_key: bool
) -> None:
    """The publisher takes over what there is: it has to be what was signed."""
    create_keys(keys, roles=("team",))
    delegate(repository, "team", ["cats"], KeyRing(keys))
    publish(bundle(tmp_path, name="cats"), repository, keys)
    publish(bundle(tmp_path), repository, keys)
    role = name.rpartition(".")[2]
    create_keys(tmp_path / "thief", roles=(role,))
    thief = load_signer(tmp_path / "thief", role) if with_a_key else None
    number = {"targets": "3.", "snapshot": "4."}.get(role, name.removesuffix(role))
    slip_in(
        repository / "metadata" / f"{number}{role}.json", lambda signed: signed.unrecognized_fields.update(x=1), thief
    )
    before = {path: path.read_bytes() for path in repository.rglob("*.json")}
    changes: list[Callable[[], object]] = [
        lambda: publish(bundle(tmp_path, "1.1.0"), repository, keys),
        lambda: revoke("digits", "1.0.0", repository, keys),
        lambda: refresh_repository(repository, keys),
        lambda: rotate(repository, "targets", KeyRing(keys), KeyRing(keys)),
    ]
    for change in changes:
        with pytest.raises(DataError, match=r"is not signed by (its keys|the keys of root): somebody has changed it"):
            change()
    assert {path: path.read_bytes() for path in repository.rglob("*.json")} == before
    assert verify(repository).problems != ()


def put_in_place(repository: Path, keys: Path, thief: Path, *known: str) -> None:
    """Whoever may write to the folder puts a repository of his own there, whose root names the publisher's keys too."""
    create_keys(thief)
    for role in known:
        shutil.copy(keys / f"{role}.pub", thief / f"{role}@victim.pub")
    shutil.rmtree(repository)
    init_repository(repository, thief)
    (thief / "bundles").mkdir()
    publish(bundle(thief / "bundles", "6.6.6"), repository, thief)


@pytest.mark.parametrize("which", ["all keys", "the first time, with root.pub", "online keys that have signed before"])
def test_a_root_that_names_our_keys_and_is_not_ours_gets_nothing_signed(
    tmp_path: Path, keys: Path, repository: Path, which: str
) -> None:
    folder = keys
    if which != "all keys":
        folder = some(keys, tmp_path / "online", "targets", *ONLINE)
        if "root.pub" in which:
            shutil.copy(keys / "root.pub", folder)
            (folder / "known-roots").unlink(missing_ok=True)
        else:
            refresh_repository(repository, folder)
    put_in_place(repository, keys, tmp_path / "thief", "root", "targets", *ONLINE)
    before = {path: path.read_bytes() for path in repository.rglob("*.json")}
    changes: list[Callable[[], object]] = [
        lambda: publish(bundle(tmp_path, "1.1.0"), repository, folder),
        lambda: revoke("digits", "6.6.6", repository, folder),
        lambda: refresh_repository(repository, folder),
        lambda: delegate(repository, "targets-team", ["cats"], KeyRing([folder, tmp_path / "thief" / "no"])),
    ]
    create_keys(folder, roles=("targets-team",))
    for change in changes:
        with pytest.raises(DataError, match=r"the root of .* nothing was signed"):
            change()
    assert {path: path.read_bytes() for path in repository.rglob("*.json") if "targets/" not in str(path)} == {
        path: data for path, data in before.items() if "targets/" not in str(path)
    }


def test_a_root_that_follows_from_one_that_was_known_is_known(tmp_path: Path, keys: Path, repository: Path) -> None:
    """Keys of online roles remember the root; when its keys have been replaced they go on."""
    online, new = some(keys, tmp_path / "online", "targets", *ONLINE), tmp_path / "new"
    refresh_repository(repository, online)
    create_keys(new, roles=("root",))
    rotate(repository, "root", KeyRing(keys), KeyRing(new))
    publish(bundle(tmp_path), repository, online)
    assert len((online / "known-roots").read_text().splitlines()) == 2
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}


def test_a_root_that_was_put_on_top_is_not_followed(tmp_path: Path, keys: Path, repository: Path) -> None:
    """Its own keys have signed it, those of the root before have not."""
    thief, other = tmp_path / "thief", tmp_path / "other"
    create_keys(thief)
    init_repository(other, thief)
    forged = other / "metadata" / "1.root.json"
    slip_in(forged, lambda root: setattr(root, "version", 2), load_signer(thief, "root"))
    shutil.copy(forged, repository / "metadata" / "2.root.json")
    with pytest.raises(DataError, match=r"2\.root\.json is not signed by the keys of root"):
        publish(bundle(tmp_path), repository, [keys, thief])


def test_a_signature_that_was_made_up_does_not_count(tmp_path: Path, keys: Path, bob: Path) -> None:
    """The id of a key is no signature."""
    repository, online = tmp_path / "repository", some(keys, tmp_path / "online", *ONLINE)
    init_repository(repository, [keys, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, keys)
    waiting = repository / "pending" / "targets.json"
    document = json.loads(waiting.read_bytes())
    document["signatures"].append({"keyid": KeyRing(bob).public("targets")[0].keyid, "sig": "00" * 64})
    waiting.write_text(json.dumps(document))
    with pytest.raises(NoInputError, match="no key here adds a signature"):
        complete(repository, KeyRing(online))
    assert offered(repository, tmp_path / "device") == set()
    assert complete(repository, KeyRing([bob, online])).waits == ()
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}


def test_what_waits_for_signatures_is_no_garbage(tmp_path: Path, keys: Path, bob: Path) -> None:
    """Its blobs are there already, and nothing that was released leads to them."""
    repository = tmp_path / "repository"
    init_repository(repository, [keys, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, keys)
    found = verify(repository, clean=True)
    assert (found.garbage, found.pending) == ((), "publish digits 1.0.0")
    blob = next((repository / "blobs").iterdir())
    content = blob.read_bytes()
    blob.unlink()
    assert verify(repository).problems[0].startswith("waits for signatures: digits 1.0.0: blob ")
    blob.write_bytes(content)
    complete(repository, KeyRing([keys, bob]))
    assert verify(repository).problems == () and offered(repository, tmp_path / "device") == {"digits 1.0.0"}


@pytest.mark.parametrize("part", ["pending", "blobs", "metadata", "targets"])
def test_a_link_in_the_place_of_a_folder_leads_nowhere(tmp_path: Path, keys: Path, repository: Path, part: str) -> None:
    """What is removed or written by it would be the publisher's own: --discard and --clean remove what they find."""
    home, folder = tmp_path / "home", repository / part
    home.mkdir()
    (home / "thesis.json").write_text("{}")
    if folder.exists():
        folder.rename(tmp_path / "moved")
    folder.symlink_to(home)
    done = (
        lambda: verify(repository, clean=True),
        lambda: publish(bundle(tmp_path), repository, keys),
        lambda: complete(repository, KeyRing(keys)),
        lambda: main.run(["repo", "sign", str(repository), "--discard"]),
    )
    for act in done:
        try:
            assert act() == 65
        except (DataError, NoInputError, UsageError):
            continue
    assert [path.name for path in home.iterdir()] == ["thesis.json"]


def test_dropping_a_change_drops_what_is_of_the_change(tmp_path: Path, keys: Path, bob: Path) -> None:
    """Somebody else's file there stays, and so does its folder."""
    repository = tmp_path / "repository"
    init_repository(repository, [keys, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, keys)
    (repository / "pending" / "note").write_text("mine")
    assert main.run(["repo", "sign", str(repository), "--discard"]) == 0
    assert [path.name for path in (repository / "pending").iterdir()] == ["note"]


@pytest.mark.parametrize("role", ["../../outside", "..", "a/b", "", "\x1b[2J"])
def test_a_change_names_no_file_outside_of_its_folder(tmp_path: Path, keys: Path, bob: Path, role: str) -> None:
    """Roles become names of files, which are read, signed and written."""
    repository = tmp_path / "repository"
    init_repository(repository, [keys, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, keys)
    change = repository / "pending" / "change.json"
    pending = json.loads(change.read_bytes())
    shutil.copy(repository / "pending" / "targets.json", tmp_path / "outside.json")
    change.write_text(json.dumps(pending | {"roles": [role]}))
    before = (tmp_path / "outside.json").read_bytes()
    with pytest.raises(DataError, match="no name of a role"):
        complete(repository, KeyRing([keys, bob]))
    assert (tmp_path / "outside.json").read_bytes() == before


@pytest.mark.parametrize("name", ["pending/change.json", "pending/targets.json", "metadata/timestamp.json"])
@pytest.mark.parametrize("what", ["pipe", "endless"])
def test_a_pipe_or_a_file_without_an_end_keeps_nobody(
    tmp_path: Path, keys: Path, bob: Path, name: str, what: str
) -> None:
    """They are waited for, or read into memory, by whoever types the next command."""
    repository = tmp_path / "repository"
    init_repository(repository, [keys, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, [keys, bob])
    publish(bundle(tmp_path, version="1.1.0"), repository, keys)
    path = repository / name
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"it is no file|has more than \d+ bytes"):
        complete(repository, KeyRing([keys, bob]))


@pytest.mark.parametrize("what", ["pipe", "endless"])
def test_whoever_looks_whether_it_is_whole_waits_for_no_pipe(
    tmp_path: Path, keys: Path, repository: Path, what: str
) -> None:
    """In the place of every file that the repository leads to, one after the other: each is a sentence."""
    publish(bundle(tmp_path), repository, keys)
    files = [path for part in ("blobs", "targets") for path in (repository / part).rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        kept = path.read_bytes()
        path.unlink()
        if what == "pipe":
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
        assert re.search(r"bytes, signed are \d+", "; ".join(verify(repository, clean=True).problems)), path
        path.unlink()
        path.write_bytes(kept)
    assert verify(repository).problems == ()


def test_a_rotation_does_not_lower_a_threshold_by_itself(tmp_path: Path, keys: Path, bob: Path) -> None:
    """Who forgets a colleague's key is told."""
    repository, new = tmp_path / "repository", tmp_path / "new"
    init_repository(repository, [keys, bob], {"targets": 2})
    create_keys(new, roles=("targets",))
    with pytest.raises(UsageError, match=r"targets takes 2|2 for targets"):
        rotate(repository, "targets", KeyRing([keys, bob]), KeyRing(new))
    assert rotate(repository, "targets", KeyRing([keys, bob]), KeyRing(new), 1).threshold == 1
    assert offered(repository, tmp_path / "device") == set()


def test_a_refresh_mends_a_rotation_that_was_cut_after_its_root(tmp_path: Path, keys: Path, repository: Path) -> None:
    """With the old keys lost the root has to come first; what the new keys have not signed yet they sign then."""
    publish(bundle(tmp_path), repository, keys)
    new, without = tmp_path / "new", some(keys, tmp_path / "without", "root", "targets")
    create_keys(new, roles=ONLINE)
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    for role in ONLINE:
        rotate(copy, role, KeyRing([without, some(keys, tmp_path / f"all-{role}", *ONLINE)]), KeyRing(new))
    for version in (2, 3):
        shutil.copy(copy / "metadata" / f"{version}.root.json", repository / "metadata")
    assert load(repository).outdated == {"snapshot", "timestamp"}
    assert verify(repository).problems != ()
    assert refresh_repository(repository, new).signed == ("snapshot", "timestamp")
    assert verify(repository).problems == ()
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}
