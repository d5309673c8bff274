"""Old copies of the repository, and a device that lost what it would tell them by."""

import json
import os
import shutil
from pathlib import Path

import pytest

from maas_agent.update.protocol import RepositoryAccess, Wanted
from maas_agent.update.repository.client import Repository
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site


@pytest.fixture
def seen(publisher: Publisher, its_device: Device, tmp_path: Path) -> Device:
    """A device that runs 1.1.0; ``old`` is a copy of the repository from when 1.0.0 was the newest, and valid still."""
    publisher.publish("1.0.0")
    publisher.release()
    shutil.copytree(publisher.folder, tmp_path / "old")
    publisher.publish("1.1.0")
    publisher.release()
    assert its_device.update().version == "1.1.0"
    return its_device


def replay(publisher: Publisher, tmp_path: Path) -> None:
    shutil.rmtree(publisher.folder)
    shutil.copytree(tmp_path / "old", publisher.folder)


@pytest.mark.parametrize("lost", [["tuf"], ["tuf/timestamp.json", "tuf/snapshot.json"]])
def test_an_old_copy_is_refused_by_a_device_that_lost_its_metadata(
    seen: Device, publisher: Publisher, tmp_path: Path, lost: list[str]
) -> None:
    """TUF's client alone accepts it then: its signatures are good, and it has not expired."""
    replay(publisher, tmp_path)
    for name in lost:
        path = seen.store / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    outcome = seen.update(active_version="1.1.0")
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "init", False)
    assert outcome.reason == (
        "the repository's targets metadata is version 3, and this device has seen version 4: "
        "it is an old copy, replayed"
    )


def test_the_true_repository_is_taken_again_after_a_replay(seen: Device, publisher: Publisher, tmp_path: Path) -> None:
    """What the old copy left in the device's metadata does no harm."""
    shutil.copytree(publisher.folder, tmp_path / "true")
    replay(publisher, tmp_path)
    shutil.rmtree(seen.store / "tuf")
    assert seen.update(active_version="1.1.0").result == "failed"
    shutil.rmtree(publisher.folder)
    shutil.copytree(tmp_path / "true", publisher.folder)
    assert seen.update(active_version="1.1.0").result == "current"


def test_damaged_marks_are_set_aside_said_and_made_anew(seen: Device, publisher: Publisher) -> None:
    """A torn file must not stop updates; from the next look on the marks are there again."""
    (seen.store / "updates" / "marks.json").write_bytes(b'{"anchor": ')
    assert seen.update(active_version="1.1.0").result == "current"
    assert (seen.store / "updates" / "marks.json.damaged").exists()
    assert "is told only by the files in tuf/ and by the clock" in seen.log.read_text()
    assert (
        json.loads((seen.store / "updates" / "marks.json").read_text())["roles"]["targets"]["version"]
        == publisher.targets.version
    )


def test_another_root_file_begins_another_history(seen: Device, tmp_path: Path) -> None:
    """A person moved the device to another publisher: its versions begin at 1."""
    other = Publisher(tmp_path / "other")
    other.publish("1.0.0")
    other.release()
    seen.root.write_bytes((other.folder / "metadata" / "root.json").read_bytes())
    seen.url = f"file://{other.folder}"
    shutil.rmtree(seen.store / "tuf")
    assert seen.update().version == "1.0.0"


def test_a_publisher_recovers_from_a_thief_who_signed_a_huge_version(seen: Device, publisher: Publisher) -> None:
    """TUF 5.3.11: with new keys the role begins anew; without, every version of the publisher's would be a replay."""
    publisher.targets.version = 2_000_000_000
    publisher.release()
    assert seen.update(active_version="1.1.0").result == "current"
    publisher.rotate("targets", "snapshot", "timestamp")
    publisher.targets.version = 5
    publisher.publish("1.2.0")
    publisher.release()
    assert seen.update(active_version="1.1.0").version == "1.2.0"


def test_a_new_snapshot_key_is_enough_to_recover(seen: Device, publisher: Publisher) -> None:
    """The targets key was not stolen: TUF takes lower versions of the targets once the snapshot's key is another."""
    publisher.targets.version = 2_000_000_000
    publisher.release()
    assert seen.update(active_version="1.1.0").result == "current"
    publisher.rotate("snapshot")
    publisher.targets.version = 5
    publisher.publish("1.2.0")
    publisher.release()
    assert seen.update(active_version="1.1.0").version == "1.2.0"


def test_marks_are_on_the_disk_before_an_offer_is_acted_on(seen: Device, publisher: Publisher) -> None:
    """A cut right after the choice must not forget what was chosen from."""
    publisher.publish("1.2.0")
    publisher.release()
    hub, puller = seen.start(Wanted(pipeline="p", model="digits", active_version="1.1.0"))
    with hub:
        assert b"pulling" in hub.recv(4096)
        puller.kill()
        puller.wait(10)
    marks = json.loads((seen.store / "updates" / "marks.json").read_text())
    assert marks["roles"]["targets"]["version"] == publisher.targets.version


def test_a_poll_without_news_writes_nothing(seen: Device, its_site: Site) -> None:
    """Flash wears out: the same files, not even touched."""
    seen.update(active_version="1.1.0")

    def files() -> dict[str, tuple[int, int]]:
        found = [path for path in seen.store.rglob("*") if "blobs" not in path.parts]
        return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in found}

    before = files()
    assert seen.update(active_version="1.1.0").result == "current"
    assert files() == before


def test_metadata_and_marks_are_synced_with_their_folders(
    publisher: Publisher, its_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after a refresh leaves all of it: each file before it gets its name, each folder after that."""
    synced: list[str] = []
    really = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    publisher.rotate("timestamp")
    publisher.release()
    access = RepositoryAccess(url=str(its_device.url), root=str(its_device.root))
    Repository(access, its_device.store).refresh()
    tuf, history = its_device.store / "tuf", its_device.store / "tuf" / "root_history"
    written = [history / "1.root.json", history / "2.root.json", its_device.store / "updates" / "marks.json"]
    written += [tuf / f"{role}.json" for role in ("timestamp", "snapshot", "targets")]
    for path in written:
        beside = str(path.with_name(f".{path.name}.{os.getpid()}.new"))
        assert str(path.parent) in synced[synced.index(beside) :], path
    assert {path for path in its_device.store.rglob("*") if path.is_file()} - {tuf / "root.json"} == set(written)


def test_what_a_killed_puller_left_half_written_is_removed(seen: Device) -> None:
    """Each has its own process id in its name; ten thousand cuts must not fill the disk."""
    left = [
        seen.store / name
        for name in ("updates/.marks.json.7.new", "updates/.pulling.json.7.new", "tuf/.targets.json.7.new")
    ]
    for path in left:
        path.write_bytes(b"{")
    assert seen.update(active_version="1.1.0").result == "current"
    assert [path for path in left if path.exists()] == []
