"""Parses bytes that may be anything: says all that the parsers raise, and how deep a document may be nested."""

import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import zipfile

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no document: for text that is no UTF-8 its own error is another one, and
brackets without an end are followed as deep as Python goes."""


def toml_table(text: str) -> dict[str, Any]:
    """A TOML document; raises ``tomllib.TOMLDecodeError`` with the reason, and nothing else."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("it is nested too deep") from None
    except ValueError as error:  # a number of thousands of digits, a date that is none
        raise tomllib.TOMLDecodeError(str(error).partition(";")[0]) from None


def read_member(archive: "zipfile.ZipFile", name: str, most_bytes: int) -> bytes:
    """The file ``name`` of a zip, expanded; raises `ValueError` if it has more bytes, and what `zipfile` raises.

    What the zip says of its size is not believed: two megabytes expand to four gigabytes. It is read in pieces, and
    only as what `zipfile` can expand in pieces: of bzip2 and LZMA it expands all there is at once.
    """
    import zipfile

    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than 'deflate'")
    found = bytearray()
    with archive.open(name) as file:
        while piece := file.read(1 << 16):
            found += piece
            if len(found) > most_bytes:
                raise ValueError(f"{name} has more than {most_bytes} bytes")
    return bytes(found)


class Lines:
    """Cuts a stream of bytes into lines. ``rest`` is what has come of the next one.

    A line that comes in small pieces costs no more than one that comes at once.
    """

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes; return the lines that they complete, without their ends."""
        first, *others = chunk.split(b"\n")
        self.rest += first
        lines = []
        for other in others:
            lines.append(bytes(self.rest))
            self.rest = bytearray(other)
        return lines


def is_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects are nested in more than so many levels.

    What is kept or sent on must be: a document at the edge of what can be read is beyond it once it stands in another.
    """
    if not isinstance(value, list | dict):
        return False
    if not levels:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(is_deeper(each, levels - 1) for each in inner)
