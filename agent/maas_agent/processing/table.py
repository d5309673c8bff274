"""Samples as a table: one a row, one number a column, and one column that may say what each is."""

from collections import Counter
from math import isfinite

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_agent.processing.text_table import TextRow, is_number, rows_of

LABEL, NUMBER = "label", "y"
"""Columns that are no features: the name of a sample's class; its class number, or the value it is to give."""


class SampleTable(msgspec.Struct, frozen=True):
    """All rows of a CSV file."""

    x: NDArray[np.float64]
    """(N, features), finite."""
    y: NDArray[np.float64] | None = None
    """(N,), finite, of the column ``y``."""
    labels: tuple[str, ...] | None = None
    """N names, none empty, of the column ``label``."""


def read_table(data: bytes, name: str) -> SampleTable:
    """Read the CSV file called ``name``; raises `DataError` that names line and column."""
    rows = rows_of(data, name)
    names = _names(name, rows[0])
    rows = rows[1:] if names is not None else rows
    if not rows:
        raise DataError(f"{name} holds no samples, only a header")
    names = names or tuple(str(position) for position in range(1, len(rows[0].cells) + 1))
    answer = _answer_column(name, names)
    features = [position for position in range(len(names)) if position != answer]
    if not features:
        raise DataError(f"{name} holds no features, only a column {names[0]!r}")
    x = _numbers(name, rows, names, features)
    if answer is None:
        return SampleTable(x)
    if names[answer].lower() == NUMBER:
        return SampleTable(x, y=_numbers(name, rows, names, [answer])[:, 0])
    return SampleTable(x, labels=_labels(name, rows, names, answer))


def _names(name: str, first: TextRow) -> tuple[str, ...] | None:
    """What the columns are called, or ``None`` if the first row is a sample already."""
    if all(is_number(cell) for cell in first.cells):
        return None
    names, times = first.cells, Counter(first.cells)
    for position, column in enumerate(names, start=1):
        if not column:
            raise DataError(f"{name}, line {first.line}: column {position} has no name; leave out an index column")
        if times[column] > 1:
            raise DataError(f"{name}, line {first.line}: two columns are called {column!r}")
    return names


def _answer_column(name: str, names: tuple[str, ...]) -> int | None:
    found = [position for position, column in enumerate(names) if column.lower() in (LABEL, NUMBER)]
    if len(found) > 1:
        raise DataError(f"{name} has the columns {' and '.join(names[at] for at in found)}: keep one of them")
    return found[0] if found else None


def _labels(name: str, rows: list[TextRow], names: tuple[str, ...], column: int) -> tuple[str, ...]:
    for row in rows:
        if not row.cells[column]:
            raise DataError(f"{name}, line {row.line}, column {names[column]!r}: empty, where a class belongs")
    return tuple(row.cells[column] for row in rows)


def _numbers(name: str, rows: list[TextRow], names: tuple[str, ...], columns: list[int]) -> NDArray[np.float64]:
    values = np.empty((len(rows), len(columns)), np.float64)
    for at, row in enumerate(rows):
        try:
            values[at] = [float(row.cells[column]) for column in columns]
        except ValueError:
            raise _no_number(name, row, names, columns) from None
    for at in np.flatnonzero(~np.isfinite(values).all(axis=1))[:1]:
        raise _no_number(name, rows[at], names, columns)
    return values


def _no_number(name: str, row: TextRow, names: tuple[str, ...], columns: list[int]) -> DataError:
    """The error for the first cell of ``row`` that is no finite number."""
    bad = next(at for at in columns if not is_number(row.cells[at]) or not isfinite(float(row.cells[at])))
    what = repr(row.cells[bad]) if row.cells[bad] else "empty"
    return DataError(f"{name}, line {row.line}, column {names[bad]!r}: {what}, where a finite number belongs")
