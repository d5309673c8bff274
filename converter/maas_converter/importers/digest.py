"""What identifies a source model in a bundle's lineage."""

import hashlib
import os
from pathlib import Path

from maas_agent.errors import DataError, NoInputError
from maas_converter.base.sandbox import stays


def digest_of(source: Path) -> str:
    """SHA-256, in hexadecimal, of a file, or of a folder with everything in it; raises `NoInputError` or `DataError`.

    A folder's is that of the text ``sha256sum`` prints for its files: one line ``<digest>  <path>`` a file, paths
    relative to the folder and with ``/``, in the order of their bytes. So ``(cd FOLDER && find * -type f |
    LC_ALL=C sort | xargs sha256sum | sha256sum)`` prints the same.
    """
    if not source.is_dir():
        return _of_file(source)
    return hashlib.sha256(b"".join(_line(source, path) for path in _files(source))).hexdigest()


def _line(folder: Path, path: str) -> bytes:
    """As ``sha256sum`` prints it: a line break in a name makes no further line."""
    name = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return b"%s%s  %s\n" % (b"\\" * (name != path), _of_file(folder / path).encode(), os.fsencode(name))


def _files(folder: Path) -> list[str]:
    """Paths of all files below ``folder``. Links to files in it are followed; others, loops or secrets, refused."""
    found = []
    whole = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and (path.is_dir() or not stays(path.resolve(), whole)):
            where = "to a folder" if path.is_dir() else "out of the model's folder"
            raise DataError(f"{path} is a link {where}: copy the model with its files, such as by cp -rL")
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise DataError(f"{path} is neither a file nor a folder: a model has none such")
        if path.is_symlink() or path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return sorted(found, key=os.fsencode)


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror}") from None
