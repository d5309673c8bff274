"""Which source formats are read, and how one is recognised before anything large is started for it.

A format is one module of this folder, run in a process of its own (see `maas_converter.importers.process`), and one
entry of the table below.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from maas_agent.errors import DataError, NoInputError


class Importer(msgspec.Struct, frozen=True):
    """One source format."""

    title: str
    suffixes: tuple[str, ...]
    module: str
    """Run as ``python -m MODULE SOURCE OUT.tflite``."""
    needs: tuple[str, ...]
    """What that module imports; looked for before it is started."""
    check: Callable[[Path], None]
    """Cheap look at a file: raises `DataError` for what is certainly not this format."""


def importer_for(source: Path) -> Importer:
    """The importer that reads ``source``; raises `NoInputError` or `DataError` if there is no file or none reads it."""
    if not source.exists():
        raise NoInputError(f"there is no model {source}")
    for importer in IMPORTERS.values():
        if source.suffix.lower() in importer.suffixes:
            importer.check(source)
            return importer
    formats = "; ".join(f"{importer.title} ({', '.join(importer.suffixes)})" for importer in IMPORTERS.values())
    raise DataError(f"{source} is no model this reads. Read are: {formats}")


def _check_keras(source: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            missing = {"config.json", "metadata.json"} - set(archive.namelist())
    except IsADirectoryError:
        raise DataError(f"{source} is a folder: a Keras 3 model is one .keras file, made by model.save()") from None
    except PermissionError as error:
        raise NoInputError(f"cannot read {source}: {error.strerror}") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise DataError(f"{source} is no Keras 3 file, or is truncated: {error}") from None
    if missing:
        raise DataError(f"{source} is no Keras 3 file: it holds no {' and no '.join(sorted(missing))}")


IMPORTERS: dict[str, Importer] = {
    "keras": Importer(
        title="Keras 3",
        suffixes=(".keras",),
        module="maas_converter.importers.keras",
        needs=("tensorflow", "keras"),
        check=_check_keras,
    ),
}
