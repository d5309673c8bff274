"""CSV files: one sample a row, one number a column."""

import hashlib
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.data.dataset import Dataset, Stored
from maas_converter.data.labels import numbered
from maas_converter.data.text_table import Row, is_number, read_rows

LABEL, NUMBER = "label", "y"
"""Columns that are no features: the name of a sample's class; its class number, or the value it is to give."""


def read_csv(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read a table of samples; raises `NoInputError`, or `DataError` that names line and column."""
    rows = read_rows(path)
    names = _names(path, rows[0])
    rows = rows[1:] if names is not None else rows
    if not rows:
        raise DataError(f"{path} holds no samples, only a header")
    names = names or tuple(str(position) for position in range(1, len(rows[0].cells) + 1))
    answer = _answer_column(path, names)
    features = [position for position in range(len(names)) if position != answer]
    if not features:
        raise DataError(f"{path} holds no features, only a column {names[0]!r}")
    y, classes = _answers(path, rows, names, answer, labels)
    return Dataset(
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        source=Stored(_numbers(path, rows, names, features)),
        y=y,
        classes=classes,
        by_name=bool(classes),
    )


def _names(path: Path, first: Row) -> tuple[str, ...] | None:
    """What the columns are called, or ``None`` if the first row is a sample already."""
    if all(is_number(cell) for cell in first.cells):
        return None
    names = first.cells
    for position, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path}, line {first.line}: column {position} has no name; leave out an index column")
        if names.count(name) > 1:
            raise DataError(f"{path}, line {first.line}: two columns are called {name!r}")
    return names


def _answer_column(path: Path, names: tuple[str, ...]) -> int | None:
    found = [position for position, name in enumerate(names) if name.lower() in (LABEL, NUMBER)]
    if len(found) > 1:
        raise DataError(f"{path} has the columns {' and '.join(names[at] for at in found)}: keep one of them")
    return found[0] if found else None


def _answers(
    path: Path, rows: list[Row], names: tuple[str, ...], column: int | None, labels: tuple[str, ...]
) -> tuple[NDArray[np.generic] | None, tuple[str, ...]]:
    """``y`` (N,) and the classes."""
    if column is None:
        return None, ()
    if names[column].lower() == NUMBER:
        return _numbers(path, rows, names, [column])[:, 0], ()
    for row in rows:
        if not row.cells[column]:
            raise DataError(f"{path}, line {row.line}, column {names[column]!r}: empty, where a class belongs")
    return numbered(path, [row.cells[column] for row in rows], labels)


def _numbers(path: Path, rows: list[Row], names: tuple[str, ...], columns: list[int]) -> NDArray[np.float64]:
    values = np.empty((len(rows), len(columns)), np.float64)
    for at, row in enumerate(rows):
        try:
            values[at] = [float(row.cells[column]) for column in columns]
        except ValueError:
            raise _no_number(path, row, names, columns) from None
    for at in np.flatnonzero(~np.isfinite(values).all(axis=1))[:1]:
        raise _no_number(path, rows[at], names, columns)
    return values


def _no_number(path: Path, row: Row, names: tuple[str, ...], columns: list[int]) -> DataError:
    """The error for the first cell of ``row`` that is no finite number."""
    bad = next(at for at in columns if not is_number(row.cells[at]) or not isfinite(float(row.cells[at])))
    what = repr(row.cells[bad]) if row.cells[bad] else "empty"
    return DataError(f"{path}, line {row.line}, column {names[bad]!r}: {what}, where a finite number belongs")
