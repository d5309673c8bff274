"""Puts a bundle into a store as the puller does, without one."""

from pathlib import Path

from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, Delivery, encode_delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.sealed import recipient_id, seal, wrap
from maas_agent.bundle.staged import blob_path


def stage(bundle: Path, store: Path) -> str:
    """Copy manifest and blobs of ``bundle`` into ``store``; returns the manifest's digest."""
    with open_bundle(bundle) as opened:
        for digest in opened.manifest.blobs():
            _write(blob_path(store, digest), opened.blob(digest))
        _write(blob_path(store, opened.digest), opened.manifest_bytes)
        return opened.digest


def stage_sealed(bundle: Path, store: Path, public: bytes, content_key: bytes = bytes(range(32))) -> str:
    """The same of a bundle that was sealed for the raw X25519 key ``public``."""
    with open_bundle(bundle) as opened:
        blobs = {digest: seal(opened.blob(digest), content_key, digest) for digest in opened.manifest.blobs()}
        for data in blobs.values():
            _write(blob_path(store, digest_of(data)), data)
        _write(blob_path(store, opened.digest), opened.manifest_bytes)
        _write(store / "deliveries" / f"{opened.digest}.json", _delivery(opened, blobs, public, content_key))
        return opened.digest


def _delivery(opened: Bundle, blobs: dict[str, bytes], public: bytes, content_key: bytes) -> bytes:
    stored = {plain: DeliveredBlob(digest_of(data), len(data), "sealed") for plain, data in blobs.items()}
    wrapped = wrap(content_key, public, opened.manifest.name, opened.manifest.version)
    return encode_delivery(Delivery(blobs=stored, recipients={recipient_id(public): wrapped}))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
