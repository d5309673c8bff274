"""Installing a ``.maas`` file that came by other ways than the repository."""

from functools import partial
from pathlib import Path

import pytest

from maas_converter.publishing.keys.key_files import create_keys, sign_manifest
from tests.agent.update.device import Device
from tests.bundles import make_bundle


@pytest.fixture
def signed(tmp_path: Path, keys: Path) -> Path:
    return make_bundle(tmp_path / "signed.maas", sign=partial(sign_manifest, keys))


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "unsigned.maas")


def test_a_signed_bundle_is_installed_without_asking_the_server(device: Device, signed: Path) -> None:
    """The root that is on the device is enough."""
    device.url = "http://127.0.0.1:9"
    outcome = device.update(bundle=str(signed))
    assert (outcome.result, outcome.version) == ("tested", "1.0.0")
    assert [event.state for event in device.progress] == ["pulling", "verifying", "staged", "testing"]


def test_an_unsigned_bundle_is_refused_unless_the_configuration_allows_it(device: Device, unsigned: Path) -> None:
    """It is not set aside: the configuration may allow it tomorrow."""
    outcome = device.update(bundle=str(unsigned))
    assert (outcome.result, outcome.set_aside) == ("failed", False)
    assert outcome.reason == "the bundle is not signed: sign it, or set allow_unsigned = true for this pipeline"
    assert device.update(bundle=str(unsigned), allow_unsigned=True).result == "tested"


def test_a_bundle_signed_by_somebody_else_is_refused(device: Device, tmp_path: Path) -> None:
    """A signature is worth what its key is worth."""
    create_keys(tmp_path / "others")
    path = make_bundle(tmp_path / "theirs.maas", sign=partial(sign_manifest, tmp_path / "others"))
    assert device.update(bundle=str(path)).reason == (
        "the bundle's signature is not the repository's: 0 of the 1 keys it takes have signed"
    )


def test_without_a_root_nothing_can_be_verified(device: Device, signed: Path) -> None:
    """A signature and nobody who knows the key."""
    device.url = None
    assert device.update(bundle=str(signed)).reason == (
        f"{signed} cannot be verified without a [repository] root: name one, or set allow_unsigned = true"
    )


def test_the_bundle_that_is_active_is_current(device: Device, unsigned: Path) -> None:
    """Nothing is tested twice."""
    digest = device.update(bundle=str(unsigned), allow_unsigned=True).digest
    outcome = device.update(bundle=str(unsigned), allow_unsigned=True, active_digest=digest, active_version="1.0.0")
    assert (outcome.result, outcome.reason) == ("current", None)


def test_another_bundle_of_the_active_version_is_refused(device: Device, unsigned: Path) -> None:
    """One version, one content; the way out is a new version."""
    outcome = device.update(bundle=str(unsigned), allow_unsigned=True, active_digest="0" * 64, active_version="1.0.0")
    assert outcome.reason == "offered is 1.0.0, active is 1.0.0: only a newer version replaces it"


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_bundle_is_refused(device: Device, unsigned: Path, kept: int) -> None:
    """A stick that was pulled out too early."""
    unsigned.write_bytes(unsigned.read_bytes()[:kept])
    outcome = device.update(bundle=str(unsigned), allow_unsigned=True)
    assert (outcome.result, outcome.state) == ("failed", "init")
    assert outcome.reason is not None and outcome.reason.startswith(f"{unsigned} is ")


def test_a_damaged_bundle_is_refused(device: Device, unsigned: Path) -> None:
    """One bit in the weights."""
    data = bytearray(unsigned.read_bytes())
    data[data.index(b"TFL3") + 500] ^= 1
    unsigned.write_bytes(data)
    outcome = device.update(bundle=str(unsigned), allow_unsigned=True)
    assert outcome.reason is not None and "Bad CRC-32" in outcome.reason


def test_a_bundle_of_another_model_or_version_than_wanted_is_refused(device: Device, unsigned: Path) -> None:
    """The file and the configuration disagree."""
    wrong_model = device.update(bundle=str(unsigned), allow_unsigned=True, model="cats")
    assert wrong_model.reason == f"{unsigned} holds digits, pipeline p is to run cats"
    wrong_version = device.update(bundle=str(unsigned), allow_unsigned=True, versions="^2")
    assert wrong_version.reason == f"{unsigned} holds version 1.0.0, which is not in '^2'"


def test_a_bundle_that_is_not_there_is_a_sentence(device: Device, tmp_path: Path) -> None:
    """A path with a typing error."""
    outcome = device.update(bundle=str(tmp_path / "nothing.maas"))
    assert outcome.reason == f"cannot read bundle {tmp_path / 'nothing.maas'}: No such file or directory"
