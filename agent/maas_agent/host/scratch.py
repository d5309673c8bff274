"""Finds a folder for passing files, where a device may have none: a read-only root, a full disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maas_agent.errors import UnavailableError


@contextmanager
def scratch_folder(prefix: str, store: Path | None = None) -> Iterator[str]:
    """An empty folder that goes with the ``with`` block; in ``store`` where there is no other place for one.

    Raises `UnavailableError` if there is none at all.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=f".{prefix}" if store else prefix, dir=_place(store))
    except OSError as error:
        raise UnavailableError(
            f"a folder for temporary files cannot be made: {error.strerror}. Name a place: TMPDIR=/path/to/folder"
        ) from None
    with made as folder:
        yield folder


def _place(store: Path | None) -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # in none of the usual ones a file can be written
        if store is None:
            raise
        return str(store)
