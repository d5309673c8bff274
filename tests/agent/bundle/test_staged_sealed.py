"""Sealed bundles in the store: opened into memory by their recipient, and by nobody else."""

import resource
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.delivery import Delivery, decode_delivery, encode_delivery
from maas_agent.bundle.staged import DEVICE_KEY, Staged, blob_path
from maas_agent.errors import BundleError, UnavailableError
from tests.agent.staging import stage_sealed
from tests.bundles import make_bundle


def make_key(path: Path) -> bytes:
    """Write a device's key; return the raw public half."""
    key = X25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key().public_bytes_raw()


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The public half of this device's key."""
    monkeypatch.setenv(DEVICE_KEY, str(tmp_path / "device.key"))
    return make_key(tmp_path / "device.key")


@pytest.fixture
def digest(tmp_path: Path, public: bytes) -> str:
    """That of a bundle which is staged in ``tmp_path``, sealed for this device."""
    return stage_sealed(make_bundle(tmp_path / "a.maas"), tmp_path, public)


def delivery_file(store: Path, digest: str) -> Path:
    return store / "deliveries" / f"{digest}.json"


def delivery(store: Path, digest: str) -> Delivery:
    return decode_delivery(delivery_file(store, digest).read_bytes())


def test_every_blob_is_opened_into_memory_as_often_as_it_is_asked_for(digest: str, tmp_path: Path) -> None:
    staged = Staged(tmp_path, digest)
    with open_bundle(tmp_path / "a.maas") as bundle:
        for blob in bundle.manifest.blobs():
            assert not blob_path(tmp_path, blob).exists()
            for _ in range(2):
                assert staged.path(blob).read_bytes() == bundle.blob(blob)
            assert str(staged.path(blob).readlink()).startswith("/memfd:")
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


def test_the_key_of_another_device_opens_nothing(digest: str, tmp_path: Path) -> None:
    make_key(tmp_path / "device.key")
    with pytest.raises(BundleError, match=r"digits 1\.0\.0 is sealed, and this device is none of its recipients"):
        Staged(tmp_path, digest)


def test_the_content_key_of_another_device_does_not_open_under_this_ones_name(
    digest: str, tmp_path: Path, public: bytes
) -> None:
    mine = delivery(tmp_path, digest)
    other = stage_sealed(tmp_path / "a.maas", tmp_path / "other", make_key(tmp_path / "other.key"))
    (theirs,) = delivery(tmp_path / "other", other).recipients.values()
    forged = msgspec.structs.replace(mine, recipients=dict.fromkeys(mine.recipients, theirs))
    delivery_file(tmp_path, digest).write_bytes(encode_delivery(forged))
    with pytest.raises(BundleError, match="does not open with this key"):
        Staged(tmp_path, digest)


def test_a_device_without_its_key_says_which_file_it_misses(digest: str, tmp_path: Path) -> None:
    (tmp_path / "device.key").unlink()
    with pytest.raises(UnavailableError, match=r"cannot read the device's key .*device\.key: No such file"):
        Staged(tmp_path, digest)


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "longer", "gone"])
def test_a_stored_blob_that_was_changed_is_refused(digest: str, tmp_path: Path, change: str) -> None:
    for stored in delivery(tmp_path, digest).blobs.values():
        path = blob_path(tmp_path, stored.stored)
        data = path.read_bytes()
        flipped = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes({"flip": flipped, "cut": data[:-1], "empty": b"", "longer": data + b"\0"}[change])
        with pytest.raises(BundleError, match="cannot be read: No such" if change == "gone" else "does not open"):
            Staged(tmp_path, digest)
        path.write_bytes(data)
    assert Staged(tmp_path, digest).manifest.name == "digits"


def test_blobs_of_two_bundles_cannot_be_swapped(digest: str, tmp_path: Path, public: bytes) -> None:
    """Whoever has the card in hand moves files about: both are genuine, and for this device."""
    other = stage_sealed(make_bundle(tmp_path / "b.maas", version="1.1.0", seed=1), tmp_path, public, bytes(32))
    mine, theirs = delivery(tmp_path, digest), delivery(tmp_path, other)
    paths = [blob_path(tmp_path, min(each.blobs.values(), key=lambda s: s.size).stored) for each in (mine, theirs)]
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)
    for bundle in (digest, other):
        with pytest.raises(BundleError, match="does not open"):
            Staged(tmp_path, bundle)


def test_blobs_of_one_bundle_cannot_take_each_others_place(digest: str, tmp_path: Path) -> None:
    mine = delivery(tmp_path, digest)
    swapped = dict(zip(mine.blobs, reversed(mine.blobs.values()), strict=True))
    delivery_file(tmp_path, digest).write_bytes(encode_delivery(msgspec.structs.replace(mine, blobs=swapped)))
    with pytest.raises(BundleError, match="does not open"):
        Staged(tmp_path, digest)
