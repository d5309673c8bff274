"""``.maas`` files: a bundle as one zip of ``manifest.json``, ``blobs/<sha256>`` and, if signed, ``signature.json``.

Entries are stored, never compressed: weights hardly shrink, and an archive whose entries are as large as
the file can hold no decompression bomb. Reading checks sizes before bytes, and names against a closed list, so no
entry can escape to a path.
"""

import hashlib
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest, digest_of
from maas_agent.errors import BundleError, NoInputError

MAX_BUNDLE_BYTES = 1 << 31
MAX_SIGNATURE_BYTES = 1 << 14
_MAX_ENTRIES = 256
_ENTRY = re.compile(r"^(manifest\.json|signature\.json|blobs/[0-9a-f]{64})\Z")
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Bundle:
    """An open ``.maas`` file whose manifest, sizes and digests have been verified.

    ``manifest_bytes`` are the exact bytes that a signature covers; ``digest`` is their SHA-256.
    """

    def __init__(
        self, archive: zipfile.ZipFile, manifest_bytes: bytes, manifest: Manifest, signature: bytes | None
    ) -> None:
        if archive.fp is None:
            raise ValueError("the archive is closed")
        self._archive = archive
        self.file: IO[bytes] = archive.fp
        """The very file that was verified, whatever its path leads to by now."""
        self._signature = signature
        self.manifest = manifest
        self.manifest_bytes = manifest_bytes
        self.digest = digest_of(manifest_bytes)

    def signature(self) -> bytes | None:
        """The content of ``signature.json``, unverified, or ``None`` if the bundle is unsigned."""
        return self._signature

    def blob(self, digest: str) -> bytes:
        """The verified content of a blob; raises `BundleError` if it does not match its name."""
        with _as_bundle_errors(Path(self._archive.filename or "")):
            data = self._archive.read(f"blobs/{digest}")
        if digest_of(data) != digest:
            raise BundleError(f"blob {digest[:12]}… is damaged")
        return data


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open and verify a ``.maas`` file.

    Raises `NoInputError` if there is none, `BundleError` if it is truncated, damaged or not a bundle.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise NoInputError(f"cannot read bundle {path}: {error.strerror}") from None
    if size > MAX_BUNDLE_BYTES:
        raise BundleError(f"{path} has {size} bytes, at most {MAX_BUNDLE_BYTES} are read")
    with closing(_opened(path)) as archive:
        yield _read(archive, path)


def _opened(path: Path) -> zipfile.ZipFile:
    with _as_bundle_errors(path):
        return zipfile.ZipFile(path)


def _read(archive: zipfile.ZipFile, path: Path) -> Bundle:
    with _as_bundle_errors(path):
        return _verified(archive, path)


@contextmanager
def _as_bundle_errors(path: Path) -> Iterator[None]:
    """Turn what ``zipfile`` raises for a damaged or hostile file into sentences."""
    try:
        yield
    except IsADirectoryError:
        raise NoInputError(f"{path} is a folder, not a bundle: name the .maas file") from None
    except PermissionError as error:
        raise NoInputError(f"cannot read bundle {path}: {error.strerror}") from None
    except OSError as error:  # a card that fails, or an offset before the file's beginning
        raise BundleError(f"{path} is damaged or cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise BundleError(f"{path} is damaged, truncated or no bundle: {error}") from None
    except (RuntimeError, ValueError, OverflowError, KeyError) as error:
        # zipfile's own complaints about encrypted entries, odd headers and the like
        raise BundleError(f"{path} is not a readable bundle: {error}") from None


def write_bundle(path: Path, manifest_bytes: bytes, blobs: dict[str, bytes], signature: bytes | None = None) -> None:
    """Write a ``.maas`` file beside ``path`` and rename it over; the same content gives the same bytes."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, "manifest.json", manifest_bytes)
            if signature is not None:
                _add(archive, "signature.json", signature)
            for digest in sorted(blobs):
                _add(archive, f"blobs/{digest}", blobs[digest])
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _verified(archive: zipfile.ZipFile, path: Path) -> Bundle:
    # (1) names and sizes, before any byte of an entry is read
    entries = _checked_entries(archive, path)
    if "manifest.json" not in entries:
        raise BundleError(f"{path} holds no manifest.json: it is not a bundle")
    # (2) the manifest, bounded
    manifest_bytes = _read_small(archive, "manifest.json", MAX_MANIFEST_BYTES)
    manifest = decode_manifest(manifest_bytes)
    signature = _read_small(archive, "signature.json", MAX_SIGNATURE_BYTES) if "signature.json" in entries else None
    # (3) exactly the blobs it names, each of the size and digest it states
    stated = {f"blobs/{digest}": size for digest, size in manifest.blobs().items()}
    present = {name: entry.file_size for name, entry in entries.items() if name.startswith("blobs/")}
    if stated != present:
        raise BundleError(f"{path}: its blobs are not those of its manifest (missing, extra or of another size)")
    for name in stated:
        with archive.open(name) as blob:
            _check_digest(blob, name.removeprefix("blobs/"), path)
    return Bundle(archive, manifest_bytes, manifest, signature)


def _checked_entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise BundleError(f"{path} has {len(infos)} entries, at most {_MAX_ENTRIES} are read")
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if not _ENTRY.match(info.filename) or info.filename in entries:
            raise BundleError(f"{path} holds the entry {info.filename!r}, which no bundle has")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise BundleError(f"{path}: entry {info.filename} is compressed; bundles are stored")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise BundleError(f"{path}: entry {info.filename} is no plain file")
        entries[info.filename] = info
    return entries


def _read_small(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if archive.getinfo(name).file_size > limit:
        raise BundleError(f"{name} has more than {limit} bytes")
    return archive.read(name)


def _check_digest(blob: IO[bytes], digest: str, path: Path) -> None:
    if hashlib.file_digest(blob, "sha256").hexdigest() != digest:  # type: ignore[arg-type]  # any readable will do
        raise BundleError(f"{path}: blob {digest[:12]}… does not match its digest: the file is damaged")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, data)
