"""Tables as text: a CSV file's rows with their line numbers."""

import csv
import io

import msgspec

from maas_agent.errors import DataError

_DELIMITERS = ",;\t"


class TextRow(msgspec.Struct, frozen=True):
    """The cells of one row, without blanks around them, and the line (from 1) on which it ends."""

    line: int
    cells: tuple[str, ...]


def rows_of(data: bytes, name: str) -> list[TextRow]:
    """The rows of a CSV file called ``name``, all of one length, empty lines left out.

    The delimiter is that of ``,``, ``;`` and the tabulator which the first line has most often. Raises `DataError` that
    names the line.
    """
    text = _text(data, name)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [TextRow(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader if any(cells)]
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: {error}") from None
    if not rows:
        raise DataError(f"{name} is empty")
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise DataError(f"{name}, line {row.line}: {len(row.cells)} cells, the first row has {len(rows[0].cells)}")
    return rows


def is_number(cell: str) -> bool:
    """Whether a cell is read as a number; ``nan`` and ``inf`` are, and are refused where they stand."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")  # spreadsheets begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no UTF-8 text, from byte {error.start} on") from None
