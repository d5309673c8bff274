"""Folders of pictures or recordings: one sample a file, of a class by its folder or by ``labels.csv``.

data/crane/1.png      data/labels.csv       file,label      or      file,y
data/heron/1.png      data/1.wav            1.wav,crane             1.wav,0.25
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError, NoInputError
from maas_agent.processing.table import LABEL, NUMBER
from maas_agent.processing.text_table import TextRow, is_number, rows_of
from maas_converter.base.user_files import content_of
from maas_converter.data.dataset import Dataset, SampleFiles
from maas_converter.data.labels import numbered

LIST = "labels.csv"

_PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff")

_IMAGE: Literal["image"] = "image"
FORMS: dict[str, Literal["image", "audio"]] = {**dict.fromkeys(_PICTURES, _IMAGE), ".wav": "audio"}
"""What a device decodes."""

_DEBRIS = {"thumbs.db", "desktop.ini"}


class _Sample(msgspec.Struct, frozen=True):
    """One file, and what is said of it: a class's name, a number as it is written, or nothing."""

    path: Path
    answer: str = ""


class _Listing(msgspec.Struct, frozen=True):
    """All samples, and what their answers are."""

    samples: tuple[_Sample, ...]
    kind: Literal["label", "y", "nothing"]
    notes: tuple[str, ...] = ()


def read_folder(path: Path, labels: tuple[str, ...]) -> Dataset:
    """List and hash a folder, decoding nothing yet; raises `NoInputError` or `DataError`."""
    listing = _listed(path) if (path / LIST).is_file() else _found(path)
    if not listing.samples:
        raise DataError(f"{path} holds no {', '.join(FORMS)} files")
    y, classes = _answers(path, listing, labels)
    return Dataset(
        path=path,
        sha256=_digest(path, listing.samples),
        source=SampleFiles(tuple(sample.path for sample in listing.samples), _form(listing.samples)),
        y=y,
        classes=classes,
        by_name=bool(classes),
        notes=listing.notes,
    )


def _found(folder: Path) -> _Listing:
    """Class folders, or files of no known class."""
    entries = _entries(folder)
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if not entry.is_dir()]
    if not folders:
        return _Listing(tuple(_Sample(_checked(entry)) for entry in loose), "nothing")
    if loose:
        raise DataError(f"{loose[0]} lies beside class folders: move it into one, or list all files in {LIST}")
    samples = []
    for group in folders:
        members = _entries(group)
        if not members:
            raise DataError(f"{group} is empty: a class folder holds its samples")
        samples += [_Sample(_checked(entry), group.name) for entry in members]
    return _Listing(tuple(samples), "label")


def _listed(folder: Path) -> _Listing:
    """The files that ``labels.csv`` names."""
    rows = rows_of(content_of(folder / LIST), str(folder / LIST))
    if len(rows[0].cells) != 2:
        raise DataError(f"{folder / LIST}, line {rows[0].line}: write two columns, file,label or file,y")
    header = tuple(cell.lower() for cell in rows[0].cells)
    known = header in (("file", LABEL), ("file", NUMBER))
    kind: Literal["label", "y"] = "y" if header == ("file", NUMBER) else "label"
    samples = tuple(_sample(folder, row, kind) for row in (rows[1:] if known else rows))
    paths = {sample.path for sample in samples}
    if len(paths) != len(samples):
        raise DataError(f"{folder / LIST} names a file twice")
    beside = [entry for parent in {path.parent for path in paths} for entry in _entries(parent)]
    unlisted = sorted(entry for entry in beside if entry.suffix.lower() in FORMS and entry not in paths)
    notes = (f"{folder / LIST} leaves out {len(unlisted)} files, such as {unlisted[0].name}",) if unlisted else ()
    return _Listing(samples, kind, notes)


def _sample(folder: Path, row: TextRow, kind: str) -> _Sample:
    name, answer = row.cells
    where = f"{folder / LIST}, line {row.line}"
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or not name:
        raise DataError(f"{where}: {name!r} is no name of a file in {folder}")
    if not answer or (kind == "y" and not (is_number(answer) and np.isfinite(float(answer)))):
        raise DataError(f"{where}: {answer!r}, where {'a finite number' if kind == 'y' else 'a class'} belongs")
    if not is_there(folder / relative):
        raise DataError(f"{where}: there is no file {folder / relative}")
    return _Sample(_checked(folder / relative), answer)


def is_there(path: Path) -> bool:
    """Whether there is such a file; there is none with a name that no file can have."""
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, but what is hidden and what file managers leave behind."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise NoInputError(f"cannot read the folder {folder}: {error.strerror}") from None
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in _DEBRIS]


def _checked(path: Path) -> Path:
    # A pipe or a device would be waited for; a link that leads to itself is no file either.
    if not path.is_file():
        raise DataError(f"{path} is no file: samples are files, class folders hold nothing else")
    if path.suffix.lower() not in FORMS:
        raise DataError(f"{path} is no sample: devices read {', '.join(FORMS)}")
    return path


def _form(samples: Sequence[_Sample]) -> Literal["image", "audio"]:
    first = samples[0].path
    form = FORMS[first.suffix.lower()]
    for sample in samples:
        if FORMS[sample.path.suffix.lower()] != form:
            raise DataError(f"{first} and {sample.path}: pictures and sound do not go into one model")
    return form


def _answers(
    path: Path, listing: _Listing, labels: tuple[str, ...]
) -> tuple[NDArray[np.generic] | None, tuple[str, ...]]:
    """``y`` (N,) and the classes."""
    if listing.kind == "nothing":
        return None, ()
    answers = [sample.answer for sample in listing.samples]
    if listing.kind == "y":
        return np.array([float(answer) for answer in answers], np.float64), ()
    return numbered(path, answers, labels)


def _digest(folder: Path, samples: Sequence[_Sample]) -> str:
    """SHA-256 over the samples in the order of their names: each name, answer and content."""
    whole = hashlib.sha256()
    for sample in sorted(samples, key=lambda sample: str(sample.path)):
        try:
            with sample.path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise NoInputError(f"cannot read {sample.path}: {error.strerror}") from None
        name = sample.path.relative_to(folder).as_posix()
        whole.update(f"{name}\0{sample.answer}\0".encode(errors="surrogateescape") + content)
    return whole.hexdigest()
