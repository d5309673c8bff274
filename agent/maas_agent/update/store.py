"""Blobs on the device, each named by its SHA-256; a manifest is a blob like any other.

A blob is written beside, checked while it is written, fsynced and renamed: a file in ``blobs/`` is complete, and it is
never written again, because a model whose file changes while it is loaded runs on with the changed weights.
One process at a time adds blobs: the puller. The hub collects garbage while no puller runs.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from io import BufferedReader, BufferedWriter
from pathlib import Path

from maas_agent.bundle.manifest import decode_manifest, digest_of
from maas_agent.errors import BundleError, PullError
from maas_agent.files import sync_folder

_PART = ".part"


class Store:
    """The folder ``<store>/blobs``."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"

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

    def add(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Take in a blob of ``size`` bytes as it arrives.

        Raises `PullError` if what arrives is not what its digest promises, or does not fit on the disk. That is no
        fault of the bundle: a damaged mirror, or a meddler on the way, must not be able to set a good version aside.
        """
        partial = self._blobs / f".{digest}{_PART}"
        try:
            self._blobs.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                _copy(digest, size, chunks, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.blob_path(digest))
            sync_folder(self._blobs)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise PullError(_what_the_disk_said(error, self._blobs, size)) from None
            raise

    def collect_garbage(self, keep: set[str]) -> int:
        """Remove what no manifest in ``keep`` (digests) needs, partial files included; return the bytes freed.

        If a manifest that is to be kept cannot be read, nothing is removed: then it is unknown what it needs.
        """
        try:
            needed = keep.union(*(decode_manifest(self.read(digest)).blobs() for digest in keep))
        except (PullError, BundleError):
            return 0
        return sum(_removed(path) for path in self._files() if path.name not in needed)

    def _files(self) -> list[Path]:
        return list(self._blobs.iterdir()) if self._blobs.is_dir() else []


def _copy(digest: str, size: int, chunks: Iterable[bytes], file: BufferedWriter) -> None:
    received, state = 0, hashlib.sha256()
    for chunk in chunks:
        received += len(chunk)
        if received > size:
            raise PullError(f"blob {digest[:12]}… is longer than the {size} bytes that were signed")
        state.update(chunk)
        file.write(chunk)
    if received < size:
        raise PullError(f"blob {digest[:12]}… ended after {received} of {size} bytes")
    if state.hexdigest() != digest:
        raise PullError(f"blob {digest[:12]}… arrived damaged: its SHA-256 is not the one that was signed")


def _what_the_disk_said(error: OSError, folder: Path, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"there is no room for {size} bytes in {folder}: free some space"
    return f"cannot write to {folder}: {error.strerror}"


def _digest_of_file(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _removed(path: Path) -> int:
    size = path.lstat().st_size
    path.unlink()
    return size
