"""Tables as text: a CSV file's rows with their line numbers."""

import csv
import io
from pathlib import Path

import msgspec

from maas_agent.errors import DataError, NoInputError

_DELIMITERS = ",;\t"


class Row(msgspec.Struct, frozen=True):
    """The cells of one row, without blanks around them, and the line (from 1) on which it ends."""

    line: int
    cells: tuple[str, ...]


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, all of one length, empty lines left out.

    The delimiter is that of ``,``, ``;`` and the tabulator which the first line has most often. Raises `NoInputError`,
    or `DataError` that names the line.
    """
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [Row(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader if any(cells)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise DataError(f"{path} is empty")
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise DataError(f"{path}, line {row.line}: {len(row.cells)} cells, the first row has {len(rows[0].cells)}")
    return rows


def is_number(cell: str) -> bool:
    """Whether a cell is read as a number; ``nan`` and ``inf`` are, and are refused where they stand."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # spreadsheets begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text, from byte {error.start} on") from None
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror}") from None
