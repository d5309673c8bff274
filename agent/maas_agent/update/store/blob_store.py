"""Stores blobs on the device, each named by its SHA-256; a manifest is a blob like any other.

A blob arrives in a part (`maas_agent.update.transfer.partial_download`), is checked while it is written, fsynced and
renamed: a file in ``blobs/`` that ends in no suffix is complete, and it is never written again, because a model whose
file changes while it is loaded runs on with the changed weights.
One process at a time adds blobs: the puller. The hub collects garbage while no puller runs.
"""

import hashlib
import os
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import Sha256, decode_manifest, digest_of
from maas_agent.errors import BundleError, PullError
from maas_agent.host.files import make_folder, sync_folder, write_durably
from maas_agent.update.folders import REMEMBERED
from maas_agent.update.store.deliveries import Deliveries, kept, removed
from maas_agent.update.transfer.partial_download import SUFFIX, PartialDownload, Request, what_the_disk_said

_PULLING = "pulling.json"


class BlobStore:
    """Keeps the folder ``<store>/blobs``, and the deliveries beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs"
        self._pulling = folder / REMEMBERED / _PULLING
        self.deliveries = Deliveries(folder)

    def blob_path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self._blobs / digest

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is here, complete and undamaged (``size`` in bytes)."""
        try:
            with self.blob_path(digest).open("rb") as file:
                return os.fstat(file.fileno()).st_size == size and _digest_of_file(file) == digest
        except OSError:
            return False

    def read(self, digest: str) -> bytes:
        """The content of a blob; raises `PullError` if it is not here or damaged, for then it must be fetched again."""
        try:
            data = self.blob_path(digest).read_bytes()
        except OSError as error:
            raise PullError(f"blob {digest[:12]}… cannot be read from the store: {error.strerror}") from None
        if digest_of(data) != digest:
            raise PullError(f"blob {digest[:12]}… is damaged in the store")
        return data

    def add(self, digest: str, size: int, request: Request) -> None:
        """Take in a blob of ``size`` bytes as it arrives, going on where it broke off the last time.

        Raises `PullError` if what arrives is not what its digest promises, or does not fit on the disk. That is no
        fault of the bundle: a damaged mirror, or a meddler on the way, must not be able to set a good version aside.
        """
        try:
            self.part(digest, size).complete(request).replace(self.blob_path(digest))
            sync_folder(self._blobs)
        except OSError as error:
            raise PullError(what_the_disk_said(error, self._blobs, size)) from None

    def part(self, digest: str, size: int) -> PartialDownload:
        """What is here of a file of ``size`` bytes; raises `PullError` if there can be no folder for it."""
        try:
            make_folder(self._blobs)
        except OSError as error:
            raise PullError(what_the_disk_said(error, self._blobs, size)) from None
        return PartialDownload(self._blobs, digest, size)

    def needs(self, manifest: str) -> dict[str, int]:
        """Digest and size of the files that this bundle consists of on the device, its manifest not counted.

        Raises `PullError` or `BundleError` if that cannot be told.
        """
        return kept(decode_manifest(self.read(manifest)).blobs(), self.deliveries.of(manifest))

    def why_not_whole(self, manifest: str, *, thorough: bool) -> str | None:
        """What is missing or damaged of this bundle; ``None`` if nothing is.

        Its manifest is always read; of other files every byte if ``thorough``, else they are known by their size.
        """
        try:
            needed = self.needs(manifest)
        except (PullError, BundleError) as error:
            return str(error)
        for digest, size in needed.items():
            if not (self.has(digest, size) if thorough else self._length(digest) == size):
                how = "is missing" if self._length(digest) is None else "is damaged in the store"
                return f"blob {digest[:12]}… {how}"
        return None

    def drop_damaged(self, manifest: str) -> None:
        """Remove the files of this bundle that hold something else than their name says: they take room for nothing.

        What cannot be read at all stays: a card may recover. A process that has such a file open keeps it.
        """
        for digest in (manifest, *self._awaited(manifest)):
            with suppress(OSError):
                path = self.blob_path(digest)
                with path.open("rb") as file:
                    is_damaged = _digest_of_file(file) != digest
                if is_damaged:
                    path.unlink()

    def _length(self, digest: str) -> int | None:
        try:
            return self.blob_path(digest).stat().st_size
        except OSError:
            return None

    def size(self) -> int:
        """The bytes that all blobs and parts take together."""
        return sum(path.lstat().st_size for path in self._files())

    def pulling(self) -> set[str]:
        """The manifests that were begun with and will be tried again: what arrived for them is no garbage."""
        # Older agents kept it in the store itself.
        path = self._pulling if self._pulling.exists() else self.folder / _PULLING
        try:
            return set(msgspec.json.decode(path.read_bytes(), type=tuple[Sha256, ...]))
        except (OSError, *MALFORMED):
            return set()

    def set_pulling(self, manifests: set[str]) -> None:
        """Say which ones these are."""
        # Should it not be possible (a full disk), then what arrived is fetched again, and no more.
        with suppress(OSError):
            if manifests != self.pulling():
                make_folder(self._pulling.parent)
                write_durably(self._pulling, msgspec.json.encode(tuple(sorted(manifests))))

    def collect_garbage(self, keep: set[str], unfinished: set[str] | None = None) -> int:
        """Remove what no manifest in ``keep`` (digests) needs, and no unfinished download; return the bytes freed.

        ``unfinished`` takes the place of what `pulling` says. If a manifest that is to be kept cannot be read, nothing
        is removed: then it is unknown what it needs.
        """
        try:
            needed = keep.union(*(self.needs(digest) for digest in keep))
        except (PullError, BundleError):
            return 0
        unfinished = self.pulling() if unfinished is None else unfinished
        awaited = unfinished.union(*(self._awaited(digest) for digest in unfinished))
        needed |= awaited | {f".{digest}{SUFFIX}" for digest in awaited}
        freed = sum(removed(path) for path in self._files() if path.name not in needed)
        return freed + self.deliveries.drop_others(keep | unfinished)

    def _awaited(self, manifest: str) -> set[str]:
        """The digests of what is still to come, or has come, for a bundle whose download has not ended."""
        try:
            delivery = self.deliveries.of(manifest)
            return {*self.needs(manifest), *(stored.stored for stored in (delivery.blobs.values() if delivery else ()))}
        except (PullError, BundleError):
            return set()  # its manifest has not come yet

    def _files(self) -> list[Path]:
        return list(self._blobs.iterdir()) if self._blobs.is_dir() else []


def _digest_of_file(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
