"""Parsers for bytes that may be anything: what they raise, all of it, and how deep a document may be nested."""

import tomllib
from typing import Any

import msgspec

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
