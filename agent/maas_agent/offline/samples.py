"""Turns files into inputs: tells which kind a file is, and makes one input of each sample it holds.

Samples that are stored as numbers become raw bytes, fitted by the converter's rules: the engine that answers is the
one that serves.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError, NoInputError
from maas_agent.offline.messages import Given
from maas_agent.processing.fit import fitted
from maas_agent.processing.npz import read_arrays
from maas_agent.processing.table import read_table

MAX_BYTES = 1 << 30
"""Of one file, and of the arrays in it."""
MAX_ROWS = 1_000_000
STANDARD_INPUT = "-"

_RAW = "application/octet-stream"
_MARK = b"\xef\xbb\xbf"
"""Of UTF-8, with which some editors begin a file."""
_ZIP = b"PK\x03\x04"


class FileSample(msgspec.Struct, frozen=True):
    """One payload, as a pipeline would get it; ``row`` counts from 0 in files that hold many."""

    payload: bytes
    content_type: str | None = None
    row: int | None = None
    given: Given | None = None


def inputs(name: str, spec: Decode, labels: Sequence[str]) -> Iterator[FileSample]:
    """The inputs in the file ``name``; class numbers in it are called by its own ``classes``, else by ``labels``.

    Raises `NoInputError` if it is not there, `DataError` that names the row if it is not what it should be.
    """
    data = _content(name)
    reader = _READERS.get(Path(name).suffix.lower()) or _told(data, name, spec)
    return reader(data, name, spec, labels) if reader else iter([FileSample(data)])


def _content(name: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            return _bounded(name, sys.stdin.buffer)
        if Path(name).is_dir():
            raise NoInputError(f"{name} is a folder: name the files in it, such as {Path(name) / '*.png'}")
        with Path(name).open("rb") as file:
            return _bounded(name, file)
    except (OSError, ValueError, AttributeError) as error:  # no input at all, a NUL in the name, or what the disk says
        raise NoInputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


def _bounded(name: str, file: IO[bytes]) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{name} has more than {MAX_BYTES >> 20} MiB: split it")
    return data


_Reader = Callable[[bytes, str, Decode, Sequence[str]], Iterator[FileSample]]


def _told(data: bytes, name: str, spec: Decode) -> _Reader | None:
    """The reader that the content asks for; ``None`` for what a pipeline would tell and decode itself.

    Text that is a table of the model's width is one, and so is a table of another width that would not do as raw
    samples either: its own error says more.
    """
    if len(data) == spec.sample_bytes:
        return None
    if data.startswith(_ZIP):
        return _npz
    if data[:64].removeprefix(_MARK).lstrip()[:1] in (b"[", b"{", b""):
        return None
    try:
        features = read_table(data, name).x.shape[1]
    except DataError:
        return None
    return _csv if features == prod(spec.shape) or len(data) % spec.sample_bytes else None


def _npz(data: bytes, name: str, spec: Decode, labels: Sequence[str]) -> Iterator[FileSample]:
    arrays = read_arrays(data, name, MAX_BYTES, or_the_only_one=True)
    x = arrays.x[np.newaxis] if arrays.x.shape == spec.shape and arrays.y is None else arrays.x
    answers = None if arrays.y is None else _called(arrays.y, arrays.classes or labels)
    return _rows(x, answers, name, spec)


def _csv(data: bytes, name: str, spec: Decode, labels: Sequence[str]) -> Iterator[FileSample]:
    table = read_table(data, name)
    answers: Sequence[Given] | None = table.labels
    if table.y is not None:
        answers = _called(table.y, labels)
    return _rows(table.x, answers, name, spec)


_READERS: dict[str, _Reader] = {".npz": _npz, ".csv": _csv, ".tsv": _csv}
"""By the end of the name; other files are told by their content."""


def _rows(x: NDArray[np.generic], answers: Sequence[Given] | None, name: str, spec: Decode) -> Iterator[FileSample]:
    if len(x) > MAX_ROWS:
        raise DataError(f"{name} holds {len(x)} samples, at most {MAX_ROWS} are read: split it")
    samples = fitted(x, spec, name)
    return (
        FileSample(sample.tobytes(), _RAW, row, answers[row] if answers is not None else None)
        for row, sample in enumerate(samples)
    )


def _called(y: NDArray[np.generic], names: Sequence[str]) -> list[Given]:
    """What ``y`` (N,) or (N, …) says of each sample: the class's name where the number has one."""
    rows: list[Given] = y.reshape(len(y), -1).squeeze(axis=1).tolist() if y.size == len(y) else y.tolist()
    return [_name(row, names) for row in rows]


def _name(value: Given, names: Sequence[str]) -> Given:
    if isinstance(value, int | float) and value == int(value) and 0 <= value < len(names):
        return names[int(value)]
    return value
