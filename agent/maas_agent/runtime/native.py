"""What the native libraries print while they load: kept off the log, and read for what it says."""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MOST_BYTES = 1 << 18
_BEFORE = re.compile(r"^(ERROR:\s*|E0000 \S+\s+\d+ )?(\[?[\w./]+:\d+\]:?\s*)?")
"""What stands before a message: its level, the time, the place in the library's source."""


class CapturedOutput:
    """What was written; `text` is complete once the `quiet` block has ended."""

    def __init__(self) -> None:
        self.text = ""


@contextmanager
def quiet() -> Iterator[CapturedOutput]:
    """Keep what the block writes to standard output and error (the descriptors, not ``sys.stderr``).

    The libraries greet in dozens of lines, and have no setting against it; a log has one line an event. What they say
    before a failure is for whoever catches that: the reason is in there.
    """
    output = CapturedOutput()
    kept = _nameless_file()
    _flush()
    saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    for descriptor in saved:
        os.dup2(kept, descriptor)
    try:
        yield output
    finally:
        _flush()
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        output.text = os.pread(kept, _MOST_BYTES, 0).decode(errors="replace")
        os.close(kept)


def _nameless_file() -> int:
    try:
        return os.memfd_create("output", os.MFD_CLOEXEC)
    except PermissionError:  # a confined process has no memory that nobody counts
        import tempfile

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _flush() -> None:
    """What C code has written to a buffer only belongs to where it was written."""
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)


def one_line(text: str) -> str:
    """A library's message as one line of a log, of bounded length."""
    return " ".join(text.split())[:600]


def errors_in(text: str) -> str:
    """The lines that report an error, as one; empty if there are none."""
    lines = [line.strip() for line in text.splitlines()]
    found = [_BEFORE.sub("", line) for line in lines if line.startswith(("ERROR", "E0000"))]
    return "; ".join(dict.fromkeys(line for line in found if line))[:600]
