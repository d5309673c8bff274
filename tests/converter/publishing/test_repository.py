"""Publishing: what is in the repository afterwards, and that a crash on the way changes nothing."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from maas_agent.errors import BundleError, DataError, NoInputError, UnavailableError
from maas_agent.host.files import write_durably
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.repository.client import Catalogue, Repository
from maas_converter.publishing import folder as folder_module
from maas_converter.publishing import release as release_module
from maas_converter.publishing import repository as publisher
from maas_converter.publishing.keys.key_files import ROLES, create_keys
from maas_converter.publishing.reading import load
from maas_converter.publishing.repository import init_repository, publish, refresh_repository
from tests.bundles import make_bundle


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publisher") / "keys"
    create_keys(folder)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "digits.maas")


def seen(repository: Path, store: Path) -> Catalogue:
    """What a device with a real TUF client sees."""
    access = RepositoryAccess(url=f"file://{repository}", root=str(repository / "metadata" / "1.root.json"))
    return Repository(access, store).refresh()


def versions(repository: Path) -> dict[str, Any]:
    state = load(repository)
    return {role: state.role(role).version for role in ROLES}


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    """What time the publisher takes it to be."""
    for module in (publisher, release_module):
        monkeypatch.setattr(module, "now", lambda: time)


def test_a_new_repository_is_empty_and_valid(repository: Path, tmp_path: Path) -> None:
    """A device can already poll it."""
    assert seen(repository, tmp_path) == Catalogue((), {})
    assert {path.name for path in (repository / "metadata").iterdir()} == {
        "1.root.json",
        "root.json",
        "1.targets.json",
        "1.snapshot.json",
        "timestamp.json",
    }


def test_a_repository_is_not_initialized_twice(repository: Path, keys: Path) -> None:
    """Devices in the field trust the first one."""
    with pytest.raises(DataError, match="is a repository already"):
        init_repository(repository, keys)


def test_an_interrupted_init_can_be_repeated(repository: Path, keys: Path, tmp_path: Path) -> None:
    """Without a timestamp no device has seen anything."""
    (repository / "metadata" / "timestamp.json").unlink()
    init_repository(repository, keys)
    assert seen(repository, tmp_path) == Catalogue((), {})


def test_a_published_bundle_is_offered_on_its_channel(
    repository: Path, keys: Path, bundle: Path, tmp_path: Path
) -> None:
    """Its manifest under its digest, its blobs under theirs."""
    published = publish(bundle, repository, keys, "beta")
    assert (published.name, published.version, published.new_blobs) == ("digits", "1.0.0", 2)
    catalogue = seen(repository, tmp_path)
    assert catalogue.channels == {"digits": {"beta": "1.0.0"}}
    assert [(offer.name, offer.version, offer.digest) for offer in catalogue.offers] == [
        ("digits", "1.0.0", published.digest)
    ]
    assert (repository / "targets" / "digits" / "1.0.0" / f"{published.digest}.manifest.json").is_file()
    assert sum(path.stat().st_size for path in (repository / "blobs").iterdir()) == published.new_bytes


def test_publishing_again_changes_nothing_or_moves_the_channel(
    repository: Path, keys: Path, bundle: Path, tmp_path: Path
) -> None:
    """The same digest is the same bundle."""
    first = publish(bundle, repository, keys)
    before = versions(repository)
    again = publish(bundle, repository, keys)
    assert (again.digest, again.new_blobs, again.new_bytes) == (first.digest, 0, 0)
    assert versions(repository) == before
    publish(bundle, repository, keys, "beta")
    assert seen(repository, tmp_path).channels == {"digits": {"stable": "1.0.0", "beta": "1.0.0"}}


def test_a_version_means_one_bundle_for_ever(repository: Path, keys: Path, bundle: Path, tmp_path: Path) -> None:
    """Or no device could tell what it runs."""
    publish(bundle, repository, keys)
    other = make_bundle(tmp_path / "other.maas", seed=1)
    with pytest.raises(DataError, match=r"digits 1\.0\.0 is published already, with other content"):
        publish(other, repository, keys)
    assert len(list((repository / "blobs").iterdir())) == 2


def test_blobs_that_bundles_share_are_stored_once(repository: Path, keys: Path, bundle: Path, tmp_path: Path) -> None:
    """The weights did not change, and neither did what they answer."""
    publish(bundle, repository, keys)
    published = publish(make_bundle(tmp_path / "next.maas", version="1.0.1"), repository, keys)
    assert (published.new_blobs, published.new_bytes) == (0, 0)


def test_publishing_mends_a_damaged_blob(repository: Path, keys: Path, bundle: Path) -> None:
    """A copy of the repository that was cut short, for example."""
    publish(bundle, repository, keys)
    blob = next((repository / "blobs").iterdir())
    blob.write_bytes(b"damaged")
    assert publish(bundle, repository, keys).new_blobs == 1
    assert blob.read_bytes() != b"damaged"


class _Killed(BaseException):
    """Stands for kill -9: nothing handles it."""


def test_a_crash_at_any_write_leaves_the_old_state_and_publishing_again_completes_it(
    repository: Path, keys: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blobs, the manifest, targets, snapshot, timestamp: a device sees the old state until the last one."""
    publish(bundle, repository, keys)
    newer = make_bundle(tmp_path / "newer.maas", version="2.0.0", seed=1)
    write = write_durably
    for survived in range(6):
        copy, device = tmp_path / f"copy-{survived}", tmp_path / f"device-{survived}"
        shutil.copytree(repository, copy)
        before = seen(copy, device)
        left = iter(range(survived))

        def killed_after(path: Path, data: bytes, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise _Killed
            write(path, data)

        for module in (folder_module, release_module):
            monkeypatch.setattr(module, "write_durably", killed_after)
        with pytest.raises(_Killed):
            publish(newer, copy, keys)
        assert seen(copy, device) == before
        monkeypatch.undo()
        publish(newer, copy, keys)
        assert seen(copy, device).channels == {"digits": {"stable": "2.0.0"}}


def test_two_publishers_at_once_both_succeed(repository: Path, keys: Path, tmp_path: Path) -> None:
    """They wait for each other; neither forgets the other's bundle."""
    program = """
import sys
from pathlib import Path
from maas_converter.publishing.repository import publish
publish(*map(Path, sys.argv[1:]))
"""
    bundles = [make_bundle(tmp_path / f"{name}.maas", name) for name in ("cats", "dogs", "owls")]
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(repository), str(keys)]) for path in bundles
    ]
    assert [child.wait(30) for child in children] == [0, 0, 0]
    assert set(seen(repository, tmp_path).channels) == {"cats", "dogs", "owls"}


def test_a_refresh_signs_the_timestamp_and_what_expires_soon(
    repository: Path, keys: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every day by cron: devices fetch one small file; the rest is signed when its time comes."""
    publish(bundle, repository, keys)
    refreshed = refresh_repository(repository, keys)
    assert refreshed.signed == ("timestamp",)
    assert versions(repository) == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 3}
    later = datetime.now(UTC) + timedelta(days=300)
    at(monkeypatch, later)
    assert refresh_repository(repository, keys).signed == ("root", "targets", "snapshot", "timestamp")
    assert versions(repository) == {"root": 2, "targets": 3, "snapshot": 3, "timestamp": 4}
    monkeypatch.undo()
    assert seen(repository, tmp_path).channels == {"digits": {"stable": "1.0.0"}}
    assert (repository / "metadata" / "root.json").read_bytes() == (
        repository / "metadata" / "2.root.json"
    ).read_bytes()


def test_nothing_is_signed_by_a_clock_that_was_never_set(
    repository: Path, keys: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have expired for every device, and the command would say that all is well."""
    before = versions(repository)
    at(monkeypatch, datetime(1970, 1, 1, tzinfo=UTC))
    with pytest.raises(UnavailableError, match=r"clock says 1970-01-01 00:00: .*; set the clock \(timedatectl"):
        publish(bundle, repository, keys)
    with pytest.raises(UnavailableError):
        refresh_repository(repository, keys)
    assert versions(repository) == before


def test_a_refresh_needs_only_the_keys_that_may_lie_on_a_server(
    repository: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root and targets keys are off-line; that they are needed soon is said."""
    online = tmp_path / "online"
    online.mkdir()
    for role in ("snapshot", "timestamp"):
        (online / f"{role}.pem").write_bytes((keys / f"{role}.pem").read_bytes())
    assert refresh_repository(repository, online).overdue == ()
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=80)
    at(monkeypatch, later)
    refreshed = refresh_repository(repository, online)
    assert (refreshed.signed, refreshed.overdue) == (("snapshot", "timestamp"), ("targets",))
    assert refreshed.expires["timestamp"] == later + timedelta(days=7)


def test_the_repository_is_signed_for_as_long_as_documented(repository: Path) -> None:
    """A year for the root, a week for the timestamp."""
    lifetimes = {}
    for role in ROLES:
        name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
        expires = json.loads((repository / "metadata" / name).read_bytes())["signed"]["expires"]
        lifetimes[role] = round((datetime.fromisoformat(expires) - datetime.now(UTC)) / timedelta(days=1))
    assert lifetimes == {"root": 365, "targets": 90, "snapshot": 30, "timestamp": 7}


def test_what_cannot_be_published_is_one_sentence(repository: Path, keys: Path, bundle: Path, tmp_path: Path) -> None:
    """The wrong folder, no repository, no key, other keys, a channel that is no name, a file that is no bundle."""
    with pytest.raises(NoInputError, match="there is no repository"):
        publish(bundle, tmp_path / "nowhere", keys)
    with pytest.raises(NoInputError, match="is no repository"):
        publish(bundle, tmp_path, keys)
    with pytest.raises(NoInputError, match="cannot read the targets key"):
        publish(bundle, repository, tmp_path)
    create_keys(tmp_path / "others")
    with pytest.raises(DataError, match=r"targets\.pem is not a targets key of this repository"):
        publish(bundle, repository, tmp_path / "others")
    with pytest.raises(DataError, match="is no name for a channel"):
        publish(bundle, repository, keys, "Stable!")
    bundle.write_bytes(bundle.read_bytes()[:-100])
    with pytest.raises(BundleError):
        publish(bundle, repository, keys)
    assert not (repository / "blobs").exists()


def test_damaged_metadata_is_a_sentence(repository: Path, keys: Path, bundle: Path) -> None:
    """Somebody edited it."""
    (repository / "metadata" / "1.targets.json").write_text("{")
    with pytest.raises(DataError, match=r"the repository is damaged, .*1\.targets\.json cannot be read"):
        publish(bundle, repository, keys)
