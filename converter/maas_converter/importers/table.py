"""Which source formats are read, and how one is recognised before anything large is started for it.

A format is one entry of the table below, and one module of this folder for each framework that can read it, run in a
process of its own (see `maas_converter.importers.process`). What is in a file counts for more than what it is called.
"""

import json
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from maas_agent.base.untrusted import read_member
from maas_agent.errors import DataError, NoInputError
from maas_converter.importers.keras.configuration import is_hdf5
from maas_converter.importers.unsupported_formats import unsupported_file, unsupported_folder

_HEAD_BYTES = 64
_GRAPH = "saved_model.pb"
_MAX_METADATA_BYTES = 1 << 20
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


class Rung(msgspec.Struct, frozen=True):
    """One framework that may read a format."""

    title: str
    module: str
    """Run as ``python -m MODULE SOURCE OUT.tflite OPTIONS``."""
    needs: tuple[str, ...]
    """What that module imports; looked for before it is started."""


class Importer(msgspec.Struct, frozen=True):
    """One source format."""

    title: str
    suffixes: tuple[str, ...]
    rungs: tuple[Rung, ...]
    """Tried in turn until one succeeds or refuses; without any, the file is a ``.tflite`` already."""
    recognise: Callable[[Path, bytes], bool]
    """Whether a file with this head, or a folder (no head), is certainly of this format."""
    check: Callable[[Path], None]
    """Cheap look at a file that is, or says it is, of this format: raises `DataError` if it certainly is not."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Modules without which the format is not read at all."""
        return self.rungs[0].needs if self.rungs else ()


def importer_for(source: Path) -> Importer:
    """The importer that reads ``source``; raises `NoInputError` or `DataError` if there is no file or none reads it."""
    head = _head(source)
    for importer in IMPORTERS.values():
        if importer.recognise(source, head):
            importer.check(source)
            return importer
    raise DataError(f"{source} {_what_it_is(source, head)}")


def _head(source: Path) -> bytes:
    """The first bytes of a file, none of a folder; raises `NoInputError` if there is nothing to read."""
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            return b""
        if not stat.S_ISREG(mode):
            raise DataError(f"{source} is neither a file nor a folder")
        with source.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise NoInputError(f"there is no model {source}") from None
    except OSError as error:
        raise NoInputError(f"cannot read {source}: {error.strerror}") from None
    if not head:
        raise DataError(f"{source} is empty")
    return head


def _what_it_is(source: Path, head: bytes) -> str:
    if source.is_dir():
        return _what_folder(source)
    known = unsupported_file(source, head)
    if known is not None:
        return f"is {known}"
    for importer in IMPORTERS.values():
        if source.suffix.lower() in importer.suffixes:
            importer.check(source)
            return f"is no {importer.title} file, or is damaged"
    formats = "; ".join(f"{importer.title} ({_told(importer)})" for importer in IMPORTERS.values())
    return f"is no model this reads. Read are: {formats}"


def _what_folder(source: Path) -> str:
    inner = sorted(path.parent for path in source.glob(f"*/{_GRAPH}"))
    if len(inner) == 1:
        return f"is a folder without {_GRAPH}, but {inner[0]} has one: name that"
    if inner:
        return f"is a folder of several models: name one of {', '.join(str(path) for path in inner[:5])}"
    known = unsupported_folder(source)
    if known is not None:
        return f"is {known}"
    if (source / "config.json").is_file():
        return "is a folder, an unpacked .keras file: name the file that model.save() made"
    return f"is a folder without {_GRAPH}: a SavedModel is the folder that holds that file"


def _told(importer: Importer) -> str:
    return ", ".join(importer.suffixes) or f"a folder with {_GRAPH}"


def _is_keras_3(source: Path, head: bytes) -> bool:
    return head.startswith(b"PK") and "config.json" in _names(source) and not _is_keras_2(source, head)


def _is_keras_2(source: Path, head: bytes) -> bool:
    """Keras 2 came to the same archive late (2.12), with classes that Keras 3 does not always know."""
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(source) as archive:
            stated = json.loads(read_member(archive, "metadata.json", _MAX_METADATA_BYTES))
            return str(stated["keras_version"]).startswith("2.")
    except (*_BROKEN_ZIP, KeyError, TypeError, RuntimeError):  # also one that is encrypted, or nested too deep
        return False


def _names(source: Path) -> set[str]:
    try:
        with zipfile.ZipFile(source) as archive:
            return set(archive.namelist())
    except _BROKEN_ZIP:
        return set()


def _check_keras(source: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            missing = {"config.json", "metadata.json"} - set(archive.namelist())
    except _BROKEN_ZIP as error:
        raise DataError(f"{source} is no Keras 3 file, or is truncated: {error}") from None
    if missing:
        raise DataError(f"{source} is no Keras 3 file: it holds no {' and no '.join(sorted(missing))}")


def _check_hdf5(source: Path) -> None:
    with source.open("rb") as file:
        if not is_hdf5(file.read(8)):
            raise DataError(f"{source} is no HDF5 file: it does not begin as one")


def _check_saved_model(source: Path) -> None:
    if (source / _GRAPH).stat().st_size == 0:
        raise DataError(f"{source / _GRAPH} is empty")


def _check_tflite(source: Path) -> None:
    with source.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            raise DataError(f"{source} is no TFLite model: it has no 'TFL3' mark")


_KERAS_3 = Rung("Keras 3", "maas_converter.importers.keras.keras3", ("tensorflow", "keras"))
_TF_KERAS = Rung("tf-keras", "maas_converter.importers.keras.legacy", ("tensorflow", "tf_keras"))
_V1 = Rung("tf.compat.v1", "maas_converter.importers.keras.v1", ("tensorflow", "tf_keras"))
_TENSORFLOW = Rung("TensorFlow", "maas_converter.importers.tensorflow.saved_model", ("tensorflow",))

IMPORTERS: dict[str, Importer] = {
    "keras": Importer("Keras 3", (".keras",), (_KERAS_3,), _is_keras_3, _check_keras),
    "keras2": Importer("Keras 2", (".keras",), (_TF_KERAS, _KERAS_3), _is_keras_2, _check_keras),
    "hdf5": Importer(
        "Keras HDF5",
        (".h5", ".hdf5"),
        (_KERAS_3, _TF_KERAS, _V1),
        lambda source, head: is_hdf5(head),
        _check_hdf5,
    ),
    "saved_model": Importer(
        "SavedModel", (), (_TENSORFLOW,), lambda source, head: (source / _GRAPH).is_file(), _check_saved_model
    ),
    "tflite": Importer("TFLite", (".tflite", ".lite"), (), lambda source, head: head[4:8] == b"TFL3", _check_tflite),
}
FINISH = Rung("LiteRT", "maas_converter.importers.tflite", ())
"""What every import ends with."""
