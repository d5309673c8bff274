"""Writes files that survive a power cut: written beside, fsynced, renamed over, folder fsynced."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` so that a cut at any point leaves the old or the new content.

    Raises ``OSError`` (disk full, read-only) with the old content untouched.
    """
    with _beside(path, data, mode) as beside:
        beside.replace(path)
    sync_folder(path.parent)


def create_durably(path: Path, data: bytes, mode: int) -> None:
    """Make ``path`` with this content, whole or not at all; raises ``FileExistsError`` if there is one already."""
    with _beside(path, data, mode) as beside:
        path.hardlink_to(beside)
        beside.unlink()
    sync_folder(path.parent)


@contextmanager
def _beside(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A file in the same folder with this content, on the disk; gone if what is done with it fails.

    It is always a new one: what lies under that name, left by a cut or put there as a link, is not written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make ``folder`` if it is not there, so that its name survives a power cut; raises ``OSError``."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
