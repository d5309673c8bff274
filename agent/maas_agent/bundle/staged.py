"""A bundle on the device: its manifest and blobs are files named by their SHA-256 in ``<store>/blobs``."""

import hashlib
from pathlib import Path

from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest
from maas_agent.errors import BundleError


def blob_path(store: Path, digest: str) -> Path:
    """Where the store keeps the blob (or manifest) called ``digest``."""
    return store / "blobs" / digest


def staged_manifest(store: Path, digest: str) -> Manifest:
    """Read a staged manifest; raises `BundleError` if it is missing or its bytes are not those of ``digest``."""
    _verify(store, digest, MAX_MANIFEST_BYTES)
    return decode_manifest(blob_path(store, digest).read_bytes())


def verify_blobs(store: Path, manifest: Manifest) -> None:
    """Check size and digest of every blob; raises `BundleError` that names the first that is missing or damaged.

    Done before every load: a model file with one flipped bit may crash the interpreter, or answer wrongly.
    """
    for digest, size in manifest.blobs().items():
        _verify(store, digest, size)


def _verify(store: Path, digest: str, max_bytes: int) -> None:
    path = blob_path(store, digest)
    try:
        with path.open("rb") as file:
            if path.stat().st_size > max_bytes:
                raise BundleError(f"blob {digest[:12]}… on this device is larger than its manifest says")
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"blob {digest[:12]}… on this device cannot be read: {error.strerror}") from None
    if found != digest:
        raise BundleError(f"blob {digest[:12]}… on this device is damaged: its content is not what its name says")
