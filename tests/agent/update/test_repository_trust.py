"""What a device refuses of a repository: metadata that was changed, is old, or lies about a bundle."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import digest_of
from maas_converter.publishing import repository as publisher
from maas_converter.publishing import state as publishing
from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.reading import load
from maas_converter.publishing.release import release
from maas_converter.publishing.repository import init_repository, refresh_repository
from tests.agent.update.conftest import Publish
from tests.agent.update.device import Device
from tests.bundles import make_bundle

Lie = Callable[[str, bytes], None]


@pytest.fixture
def lie(repository: Path, keys: Path) -> Lie:
    """Sign whatever bytes under whatever target path, as a publisher with the right keys could."""

    def sign(path: str, data: bytes) -> None:
        name, version, _ = path.split("/")
        folder = repository / "targets" / name / version
        folder.mkdir(parents=True)
        (folder / f"{digest_of(data)}.manifest.json").write_bytes(data)

        def add(roles: Any) -> None:
            roles.targets["targets"].targets[path] = TargetFile.from_data(path, data, ["sha256"])
            roles.targets["targets"].unrecognized_fields.setdefault("channels", {})[name] = {"stable": version}

        _released(repository, keys, add)

    return sign


def _released(repository: Path, keys: Path, change: Callable[[Any], None]) -> None:
    state = load(repository)
    change(state)
    release(repository, state, ("targets", "snapshot", "timestamp"), KeyRing(keys), "a lie")


def test_a_manifest_of_another_name_than_its_path_is_set_aside(device: Device, lie: Lie, tmp_path: Path) -> None:
    """The rules chose a path; what lies there must be what the path says."""
    with open_bundle(make_bundle(tmp_path / "other.maas", "other", "1.0.0")) as bundle:
        lie("digits/1.0.0/manifest.json", bundle.manifest_bytes)
    outcome = device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", True)
    assert outcome.reason == "offered as digits 1.0.0, but its manifest says other 1.0.0"


def test_a_manifest_of_an_unknown_schema_is_set_aside_with_advice(device: Device, lie: Lie) -> None:
    """A device that skipped what it does not know would answer wrongly without a word."""
    lie("digits/1.0.0/manifest.json", b'{"schema": 99}')
    outcome = device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", True)
    said = "digits 1.0.0: manifest has schema 99, this program reads 1 to 2: update maas-edge on this machine ("
    assert outcome.reason is not None and outcome.reason.startswith(said)


def test_a_bundle_that_lies_there_but_was_not_signed_is_not_offered(
    device: Device, repository: Path, published: Publish, tmp_path: Path
) -> None:
    """Whoever can write to the web server cannot publish."""
    published("1.0.0")
    with open_bundle(make_bundle(tmp_path / "new.maas", version="2.0.0")) as bundle:
        folder = repository / "targets" / "digits" / "2.0.0"
        folder.mkdir()
        (folder / f"{bundle.digest}.manifest.json").write_bytes(bundle.manifest_bytes)
    assert device.update().version == "1.0.0"


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_metadata_that_was_changed_is_not_trusted(
    device: Device, repository: Path, published: Publish, role: str
) -> None:
    """One byte of any role."""
    published("1.0.0")
    path = repository / "metadata" / f"{role}.json"
    path.write_bytes(path.read_bytes().replace(b'"spec_version"', b'"spec_Version"'))
    outcome = device.update()
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "init", False)
    assert outcome.reason is not None and "is not to be trusted" in outcome.reason


def test_another_publishers_repository_is_not_trusted(device: Device, repository: Path, tmp_path: Path) -> None:
    """The name is the same, the keys are not."""
    shutil.rmtree(repository)
    create_keys(tmp_path / "others")
    init_repository(repository, tmp_path / "others")
    outcome = device.update()
    assert outcome.reason is not None and "is not to be trusted" in outcome.reason


def test_an_old_copy_of_the_repository_is_not_accepted_after_a_newer_one(
    device: Device, repository: Path, published: Publish, tmp_path: Path
) -> None:
    """Rollback protection: the device remembers the newest timestamp it saw."""
    first = published("1.0.0")
    shutil.copytree(repository, tmp_path / "old")
    published("1.1.0")
    active = {"active_version": "1.1.0", "active_digest": first.digest}
    assert device.update(**active).result == "current"
    shutil.rmtree(repository)
    shutil.copytree(tmp_path / "old", repository)
    outcome = device.update(**active)
    assert outcome.reason is not None and "is not to be trusted" in outcome.reason


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_expired_metadata_says_which_since_when_and_what_to_do(
    device: Device, repository: Path, keys: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person who reads it is not the one who can mend it."""
    long_ago = publishing.now() - timedelta(days=400)
    monkeypatch.setitem(publishing.LIFETIME_DAYS, role, -400)
    monkeypatch.setattr(publisher, "SOON", -1)
    if role == "root":
        shutil.rmtree(repository)
        init_repository(repository, keys)
        device.root.write_bytes((repository / "metadata" / "root.json").read_bytes())
    else:
        _released(repository, keys, lambda _roles: None)
    outcome = device.update()
    assert outcome.reason is not None
    assert f"the repository's {role} metadata expired on {long_ago:%Y-%m-%d}" in outcome.reason
    assert "'maas-converter repo refresh'" in outcome.reason
    monkeypatch.undo()
    refresh_repository(repository, keys)
    assert "offers no model" in str(device.update().reason)


def test_a_missing_root_file_says_where_to_get_it(device: Device) -> None:
    """The first thing that goes wrong on a new device."""
    device.root.unlink()
    assert device.update().reason == (
        f"cannot read the trusted root {device.root}: No such file or directory; "
        "copy metadata/root.json of the repository there"
    )


def test_a_root_file_that_is_something_else_is_a_sentence(device: Device) -> None:
    """Somebody copied the wrong file."""
    device.root.write_text("{}")
    assert str(device.update().reason).startswith(f"{device.root} is no root metadata of a repository")


def test_channels_that_are_no_channels_are_refused(device: Device, repository: Path, keys: Path) -> None:
    """Signed, but of a form this program does not know."""

    def break_them(roles: Any) -> None:
        roles.targets["targets"].unrecognized_fields["channels"] = {"digits": ["stable"]}

    _released(repository, keys, break_them)
    assert str(device.update().reason).startswith("the repository's channels are not readable")
