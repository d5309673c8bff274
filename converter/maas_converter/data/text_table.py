"""Tables as text, read from a file."""

from pathlib import Path

from maas_agent.errors import NoInputError
from maas_agent.processing.text_table import Row, rows_of


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file; raises `NoInputError`, or `DataError` that names the line."""
    return rows_of(content_of(path), str(path))


def content_of(path: Path) -> bytes:
    """The bytes of a data file; raises `NoInputError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror}") from None
