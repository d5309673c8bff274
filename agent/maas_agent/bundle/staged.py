"""A bundle on the device: its manifest and blobs are files named by their SHA-256 in ``<store>/blobs``.

A sealed blob is a file under the digest of what is stored; it is opened into memory, and nothing plain of it ever
touches a disk. Which blobs are sealed is said by ``<store>/deliveries/<manifest's digest>.json``, which the puller has
verified.
"""

import hashlib
import os
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

from maas_agent.bundle.delivery import DeliveredBlob, Delivery, decode_delivery, expanded
from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest
from maas_agent.errors import BundleError

DEVICE_KEY = "MAAS_DEVICE_KEY"
"""Environment variable with the path of the device's key: the hub sets it for every process that it starts."""


def blob_path(store: Path, digest: str) -> Path:
    """Where the store keeps the blob (or manifest) called ``digest``."""
    return store / "blobs" / digest


class Staged:
    """A bundle whose every byte has been checked against its digest just now.

    Done before every load: a model file with one flipped bit may crash the interpreter, or answer wrongly. Raises
    `BundleError` that names the first blob that is missing or damaged, `UnavailableError` for what the device lacks.
    """

    def __init__(self, store: Path, digest: str) -> None:
        self._store = store
        _verify(store, digest, MAX_MANIFEST_BYTES)
        self.manifest: Manifest = decode_manifest(blob_path(store, digest).read_bytes())
        self._memory: dict[str, int] = {}
        delivery = staged_delivery(store, digest)
        sealed = {plain: stored for plain, stored in (delivery.blobs if delivery else {}).items() if stored.is_sealed}
        key = _content_key(delivery, self.manifest) if delivery is not None and sealed else b""
        for plain, size in self.manifest.blobs().items():
            if plain in sealed:
                self._memory[plain] = _in_memory(store, plain, size, sealed[plain], key)
            else:
                _verify(store, plain, size)

    @property
    def files(self) -> list[Path]:
        """The files on the disk that `path` may still give: what is sealed is in memory by now."""
        on_disk = (digest for digest in self.manifest.blobs() if digest not in self._memory)
        return [blob_path(self._store, digest) for digest in on_disk]

    def path(self, digest: str) -> Path:
        """A path that the plain blob can be read from, by this process, until it ends."""
        if digest in self._memory:
            return Path(f"/proc/self/fd/{self._memory[digest]}")
        return blob_path(self._store, digest)


def _in_memory(store: Path, digest: str, size: int, stored: DeliveredBlob, key: bytes) -> int:
    """A descriptor of the plain blob in memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would be a plain copy on the disk
    memory = os.memfd_create(f"maas-{digest[:12]}", os.MFD_CLOEXEC)
    try:
        _fill(memory, _plain(blob_path(store, stored.stored), digest, stored, key), digest, size)
    except OSError as error:
        os.close(memory)
        raise BundleError(f"sealed blob {digest[:12]}… on this device cannot be read: {error.strerror}") from None
    except BundleError:
        os.close(memory)
        raise
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def _fill(memory: int, chunks: Iterator[bytes], digest: str, size: int) -> None:
    found, written = hashlib.sha256(), 0
    with os.fdopen(memory, "wb", closefd=False) as file:
        for chunk in chunks:
            written += len(chunk)
            if written > size:
                raise BundleError(f"sealed blob {digest[:12]}… is larger than its manifest says")
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != digest:
        raise BundleError(f"sealed blob {digest[:12]}… holds another content than its manifest says")


def _plain(path: Path, digest: str, stored: DeliveredBlob, key: bytes) -> Iterator[bytes]:
    from maas_agent.bundle.sealed import opened

    with path.open("rb") as file:
        chunks = opened(file, key, digest)
        try:
            yield from chunks if stored.form == "sealed" else expanded(chunks)
        except zlib.error:
            raise BundleError(f"sealed blob {digest[:12]}… does not expand") from None


def delivery_path(store: Path, digest: str) -> Path:
    """Where the store keeps how the blobs of the bundle with the manifest ``digest`` are stored."""
    return store / "deliveries" / f"{digest}.json"


def staged_delivery(store: Path, digest: str) -> Delivery | None:
    """How the blobs of a bundle are stored; ``None`` if plainly. Raises `BundleError` if that is damaged."""
    try:
        return decode_delivery(delivery_path(store, digest).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"the delivery of bundle {digest[:12]}… cannot be read: {error.strerror}") from None


def _content_key(delivery: Delivery, manifest: Manifest) -> bytes:
    from maas_agent.bundle.sealed import read_key, recipient_id, unwrap

    path = os.environ.get(DEVICE_KEY)
    if not path:
        raise BundleError("the bundle is sealed, and this process was not told where the device's key is")
    private = read_key(Path(path))
    wrapped = delivery.content_key(recipient_id(private.public_key().public_bytes_raw()))
    if wrapped is None:
        raise BundleError(f"{manifest.name} {manifest.version} is sealed, and this device is none of its recipients")
    return unwrap(wrapped, private, manifest.name, manifest.version)


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
