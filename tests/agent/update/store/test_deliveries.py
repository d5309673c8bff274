"""Bundles whose blobs are stored otherwise than plainly: compressed, or sealed for some devices."""

import base64
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from maas_agent.bundle.delivery import DeliveredBlob, Delivery, encode_delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.update.protocol import Outcome
from maas_agent.update.store.blob_store import BlobStore
from tests.agent.update.device import Device
from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, cut_short


def names(device: Device) -> set[str]:
    return {path.name for path in (device.store / "blobs").iterdir()}


def requested_blobs(site: Site) -> list[str]:
    return [path.removeprefix("/blobs/") for path in site.requests if "/blobs/" in path]


def test_compressed_blobs_are_fetched_so_and_kept_expanded(
    its_device: Device, its_site: Site, publisher: Publisher
) -> None:
    """What is kept is what the manifest names; nothing compressed is left over."""
    manifest = publisher.publish("1.0.0")
    blobs = publisher.compress("1.0.0")
    publisher.release()
    assert its_device.update().result == "tested"
    assert names(its_device) == {manifest, *blobs}
    assert set(requested_blobs(its_site)) == {stored.stored for stored in blobs.values()}
    assert (its_device.store / "deliveries" / f"{manifest}.json").is_file()


def test_a_compressed_blob_that_was_cut_goes_on(its_device: Device, its_site: Site, publisher: Publisher) -> None:
    """The part is of what is stored."""
    publisher.publish("1.0.0", classes=400)
    largest = max(publisher.compress("1.0.0").values(), key=lambda stored: stored.size)
    publisher.release()
    data = (publisher.folder / "blobs" / largest.stored).read_bytes()
    its_site.answers[largest.stored] = cut_short(data, after=20_000)
    assert its_device.update().result == "failed"
    assert (its_device.store / "blobs" / f".{largest.stored}.part").stat().st_size == 20_000
    its_site.answers.clear()
    assert its_device.update().result == "tested"
    assert "bytes=20000-" in [asked for _, asked in its_site.ranges]


@pytest.mark.parametrize("packed", ["bomb", "short", "other", "no zlib", "trailing"])
def test_what_does_not_expand_to_what_the_manifest_states_is_set_aside(
    its_device: Device, publisher: Publisher, packed: str
) -> None:
    """A bomb of 200 MB stops at the signed size; all of it is signed, so it is the bundle's fault."""
    manifest = publisher.publish("1.0.0")
    blobs = publisher.compress("1.0.0")
    plain, stored = max(blobs.items(), key=lambda item: item[1].size)
    right = (publisher.folder / "blobs" / stored.stored).read_bytes()
    wrong = {
        "bomb": zlib.compress(bytes(200 << 20), 9),
        "short": right[:-10],
        "other": zlib.compress(bytes(len(zlib.decompress(right)))),
        "no zlib": b"PK\x03\x04" + right,
        "trailing": right + b"more",
    }[packed]
    blobs[plain] = DeliveredBlob(publisher.add_blob(wrong), len(wrong), "zlib")
    publisher.deliver(Delivery(blobs=blobs))
    publisher.release()
    outcome = its_device.update()
    assert (outcome.result, outcome.digest, outcome.set_aside) == ("failed", manifest, True)
    assert f"blob {plain[:12]}… does not expand to the " in str(outcome.reason)
    assert [name for name in names(its_device) if name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{", "digits 1.0.0: the delivery is not valid"),
        (b'{"schema": 9, "blobs": {}}', "digits 1.0.0: the delivery has schema 9, this program reads 1: update"),
        (
            encode_delivery(Delivery(blobs={"0" * 64: DeliveredBlob("1" * 64, 5, "zlib")})),
            "digits 1.0.0: its delivery names blob 000000000000…, its manifest does not",
        ),
    ],
)
def test_a_delivery_that_makes_no_sense_is_set_aside(
    its_device: Device, its_site: Site, publisher: Publisher, document: bytes, reason: str
) -> None:
    """Signed, and not to be understood here; no blob is fetched for it."""
    publisher.publish("1.0.0")
    publisher.add("digits/1.0.0/delivery.json", document)
    publisher.release()
    outcome = its_device.update()
    assert (outcome.result, outcome.set_aside) == ("failed", True)
    assert str(outcome.reason).startswith(reason)
    assert requested_blobs(its_site) == []


class Sealed:
    """A published bundle whose model is sealed for the device; the bytes are nonsense, as nobody opens them here."""

    def __init__(self, publisher: Publisher, folder: Path) -> None:
        self.publisher = publisher
        self.key = folder / "device.key"
        private = X25519PrivateKey.generate()
        self.key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.recipient = digest_of(private.public_key().public_bytes_raw())
        self.manifest = publisher.publish("1.0.0")
        blobs = publisher.folder / "blobs"
        self.plain = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        self.bytes = bytes(byte ^ 0x55 for byte in self.plain.read_bytes())
        self.stored = DeliveredBlob(publisher.add_blob(self.bytes), len(self.bytes), "sealed")
        self.plain.unlink()
        self.seal_for(self.recipient)

    def seal_for(self, *recipients: str, key: bytes = b"wrapped") -> None:
        """Sign a delivery with these recipients, and release it."""
        wrapped = {recipient: base64.b64encode(key).decode() for recipient in recipients}
        self.publisher.deliver(Delivery(blobs={self.plain.name: self.stored}, recipients=wrapped))
        self.publisher.release()


@pytest.fixture
def sealed(publisher: Publisher, tmp_path: Path) -> Sealed:
    return Sealed(publisher, tmp_path)


def test_a_sealed_blob_is_kept_as_it_is_stored(its_device: Device, its_site: Site, sealed: Sealed) -> None:
    """Under its stored digest, and nothing under the plain one; the self-test is the first to look inside."""
    outcome = its_device.update(device_key=str(sealed.key))
    assert [event.state for event in its_device.progress] == ["pulling", "verifying", "staged", "testing"]
    assert outcome.digest == sealed.manifest
    assert sealed.stored.stored in names(its_device) and sealed.plain.name not in names(its_device)
    assert (its_device.store / "blobs" / sealed.stored.stored).read_bytes() == sealed.bytes
    document = next((sealed.publisher.folder / "targets" / "digits" / "1.0.0").glob("*.delivery.json"))
    assert (its_device.store / "deliveries" / f"{sealed.manifest}.json").read_bytes() == document.read_bytes()


def test_garbage_collection_keeps_what_belongs_to_a_sealed_bundle(
    its_device: Device, its_site: Site, sealed: Sealed
) -> None:
    """And removes all of it when the manifest is kept no more, and not tried again."""
    its_device.update(device_key=str(sealed.key))
    store = BlobStore(its_device.store)
    store.collect_garbage({sealed.manifest})
    assert sealed.stored.stored in names(its_device)
    its_site.requests.clear()
    its_device.update(device_key=str(sealed.key))
    assert requested_blobs(its_site) == []
    store.set_pulling(set())
    store.collect_garbage(set())
    assert names(its_device) == set()
    assert list((its_device.store / "deliveries").iterdir()) == []


def test_a_device_that_is_no_recipient_fetches_no_blob_and_says_so(
    its_device: Device, its_site: Site, sealed: Sealed
) -> None:
    """It is not held against the bundle: the publisher may add the device."""
    sealed.seal_for("a" * 64, "b" * 64)
    outcome = its_device.update(device_key=str(sealed.key))
    assert (outcome.result, outcome.state, outcome.set_aside) == ("failed", "pulling", False)
    assert outcome.reason == (
        f"digits 1.0.0 is sealed for 2 recipients, and this device, {sealed.recipient[:12]}…, is none of them: "
        "its publisher must add what 'maas-agent enroll' says here"
    )
    assert requested_blobs(its_site) == []


@pytest.mark.parametrize("key", ["none", "missing", "text", "other kind"])
def test_a_device_without_a_good_key_says_what_to_type(
    its_device: Device, its_site: Site, sealed: Sealed, tmp_path: Path, key: str
) -> None:
    """Before it fetches anything."""
    path = tmp_path / "other.key"
    if key == "text":
        path.write_text("no key")
    elif key == "other kind":
        other = Ed25519PrivateKey.generate()
        path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    outcome = its_device.update(device_key=None if key == "none" else str(path))
    assert (outcome.state, outcome.set_aside) == ("pulling", False)
    expected = "has no key to open it: type 'maas-agent enroll'" if key in ("none", "missing") else "is no key to open"
    assert str(outcome.reason).startswith("digits 1.0.0 is sealed, and ") and expected in str(outcome.reason)
    assert requested_blobs(its_site) == []


def test_a_device_without_cryptography_says_what_to_type(
    its_device: Device, its_site: Site, sealed: Sealed, tmp_path: Path
) -> None:
    """It is an extra, and there are machines for which it has no wheel."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "cryptography.py").write_text("raise ImportError('not here')\n")
    its_device.environment = {"PYTHONPATH": str(tmp_path / "without")}
    outcome = its_device.update(device_key=str(sealed.key))
    assert outcome.reason == (
        "digits 1.0.0 is sealed, and this device cannot open what is: type pip install 'maas-edge[sealed]'"
    )
    assert requested_blobs(its_site) == []


def current(device: Device, sealed: Sealed) -> Outcome:
    return device.update(device_key=str(sealed.key), active_digest=sealed.manifest, active_version="1.0.0")


def test_a_delivery_with_other_recipients_replaces_the_one_that_is_here(
    its_device: Device, its_site: Site, sealed: Sealed
) -> None:
    """The manifest is the same, so nothing else is fetched; the next poll asks for nothing any more."""
    its_device.update(device_key=str(sealed.key))
    sealed.seal_for(sealed.recipient, "b" * 64)
    its_site.requests.clear()
    outcome = current(its_device, sealed)
    assert (outcome.result, outcome.reason) == ("current", None)
    kept = BlobStore(its_device.store).deliveries.of(sealed.manifest)
    assert kept is not None and "b" * 64 in kept.recipients
    assert requested_blobs(its_site) == []
    its_site.requests.clear()
    current(its_device, sealed)
    assert len(its_site.requests) == 2


def test_other_recipients_are_taken_over_also_while_a_newer_version_is_set_aside(
    its_device: Device, sealed: Sealed
) -> None:
    """What is passed over for another reason must not hide it."""
    its_device.update(device_key=str(sealed.key))
    newer = sealed.publisher.publish("1.1.0", seed=3)
    sealed.seal_for(sealed.recipient, "b" * 64)
    active = {"active_digest": sealed.manifest, "active_version": "1.0.0"}
    outcome = its_device.update(device_key=str(sealed.key), refused={newer: "it deviates"}, **active)
    assert outcome.reason == "1.1.0 is set aside: it deviates"
    kept = BlobStore(its_device.store).deliveries.of(sealed.manifest)
    assert kept is not None and "b" * 64 in kept.recipients


def test_a_device_that_is_a_recipient_no_more_keeps_what_it_has_and_says_so(its_device: Device, sealed: Sealed) -> None:
    """It has seen the key of this version; taking the document away would only stop it from serving."""
    its_device.update(device_key=str(sealed.key))
    sealed.seal_for("b" * 64)
    outcome = current(its_device, sealed)
    assert outcome.result == "current"
    assert "is none of them" in str(outcome.reason)
    kept = BlobStore(its_device.store).deliveries.of(sealed.manifest)
    assert kept is not None and sealed.recipient in kept.recipients


def test_a_bundle_that_is_sealed_anew_is_complete_before_its_document_changes(
    its_device: Device, its_site: Site, sealed: Sealed
) -> None:
    """It may be served at any moment: what the document names is here, always."""
    its_device.update(device_key=str(sealed.key))
    first = sealed.stored
    sealed.bytes = bytes(reversed(sealed.bytes))
    sealed.stored = DeliveredBlob(sealed.publisher.add_blob(sealed.bytes), len(sealed.bytes), "sealed")
    sealed.seal_for(sealed.recipient)
    its_site.answers[sealed.stored.stored] = cut_short(sealed.bytes, after=100)
    assert "cannot fetch" in str(current(its_device, sealed).reason)
    assert set(BlobStore(its_device.store).needs(sealed.manifest)) <= names(its_device)
    assert first.stored in BlobStore(its_device.store).needs(sealed.manifest)
    its_site.answers.clear()
    assert current(its_device, sealed).reason is None
    assert sealed.stored.stored in BlobStore(its_device.store).needs(sealed.manifest)
    assert set(BlobStore(its_device.store).needs(sealed.manifest)) <= names(its_device)
