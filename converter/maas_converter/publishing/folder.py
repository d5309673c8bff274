"""The repository's folder: one writer at a time, files that are there whole or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined]  # it has no __all__

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import DataError, NoInputError
from maas_agent.host.files import write_durably

PARTS = ("metadata", "targets", "blobs", "pending")
"""The folders of a repository."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time; another one waits. A full or read-only disk becomes a sentence.

    Raises `DataError` too if a link lies in the place of a folder: whoever may write here would have this program write
    and remove files elsewhere.
    """
    for part in PARTS:
        if (folder / part).is_symlink():
            raise DataError(f"{folder / part} is a link: put the folder itself there, nothing is done by a link")
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        raise NoInputError(f"there is no repository {folder}: 'maas-converter repo init' makes one") from None
    except OSError as error:
        raise DataError(f"cannot write to the repository {folder}: {error.strerror}") from None
    with os.fdopen(descriptor, "w"):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        except OSError as error:
            raise DataError(f"cannot write to the repository {folder}: {error.strerror or error}") from None


def write_new(path: Path, data: bytes) -> bool:
    """Write ``path`` unless it has this content already; return whether it was written."""
    if path.is_file() and path.stat().st_size == len(data) and digest_of(path.read_bytes()) == digest_of(data):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return True


def blob_file(folder: Path, digest: str) -> Path:
    """Where a blob lies, by the digest of what is stored."""
    return folder / "blobs" / digest


def target_path(name: str, version: str, file: str = "manifest") -> str:
    """The target path of a bundle's ``manifest`` or ``delivery``."""
    return f"{name}/{version}/{file}.json"


def put_target(folder: Path, targets: Targets, path: str, data: bytes) -> None:
    """Store a target, and name it in a role's metadata."""
    write_new(target_file(folder, path, digest_of(data)), data)
    targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])


def stored_at(folder: Path, target: TargetFile) -> Path:
    """Where a target that is named in metadata lies."""
    return target_file(folder, target.path, target.hashes["sha256"])


def target_file(folder: Path, path: str, digest: str) -> Path:
    """Where a target lies: TUF's consistent snapshots put the digest before its name."""
    parent, _, name = path.rpartition("/")
    return folder / "targets" / parent / f"{digest}.{name}"
