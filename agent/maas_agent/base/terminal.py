"""Writes to standard output and error: the only way by which text gets to a terminal, or to who reads ours as one.

A terminal obeys what it is shown: an escape sequence sets its title or writes its clipboard, a line break makes a row
that nobody sent, a bidi control turns a sentence round. Labels, names and reasons come from bundles, brokers, files and
servers. So what is no printable character goes out as an escape, such as ``\\x1b`` or ``\\u202e``: in a line also the
line break (`write_lines`), in a document as JSON writes it (`write_document`), and in everything else, a library's
warning or a traceback, whatever is not the end of a line (`guard_streams`).
"""

import io
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, cast

# Codecs are files that Python reads when they are first used: that must not be where no descriptor is left.
"".encode("unicode_escape")

_LONGEST_CELL = 200
_REST_S = 1.0
"""For what a child that has ended left in the pipe: a grandchild may keep it open."""


def printable(text: str, kept: str = "") -> str:
    """``text`` with an escape for every character that is not printable (Unicode's Other and Separator) or ``kept``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in kept else _escape(each) for each in text)


def cell(text: str, longest: int = _LONGEST_CELL) -> str:
    """``text`` for a column of a table: printable, its runs of spaces one space, and no longer than that.

    What is longer would push the other columns away, and be folded by the terminal into rows of its own making.
    """
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def printable_json(text: str) -> str:
    """A JSON document as ASCII: every other character, and DEL, as ``\\uXXXX``, which means the same (RFC 8259 7)."""
    return "".join(each if each == "\n" or " " <= each <= "~" else json.dumps(each)[1:-1] for each in text)


def write_lines(lines: Iterable[str], *, error: bool = False) -> None:
    """Write each of ``lines`` as one line, to standard error if that is asked for; a line break in it is an escape."""
    stream = sys.stderr if error else sys.stdout
    if stream is not None:  # as where a service was started without
        stream.write("".join(f"{printable(line)}\n" for line in lines))
        stream.flush()


def write_line(line: str, *, error: bool = False) -> None:
    """Write one line."""
    write_lines([line], error=error)


def write_document(document: Any) -> None:
    """Write ``document`` as JSON to standard output, for programs: in ASCII, as `json` does it."""
    write_json(json.dumps(document, indent=2))


def write_json(text: str) -> None:
    """Write a document that is JSON already."""
    sys.stdout.write(f"{printable_json(text)}\n")
    sys.stdout.flush()


def ask(question: str) -> str:
    """What a person types after ``question``, which goes to standard error; nothing if standard input has ended."""
    sys.stderr.write(f"{printable(question)} ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


class Guarded:
    """A text stream that lets no control character through but line breaks and tabs; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self.beneath = stream

    def write(self, text: str) -> int:
        """Write ``text`` with escapes; returns how many of its characters that were."""
        self.beneath.write(printable(text, kept="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them all."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


def guard_streams() -> None:
    """From now on nothing gets to standard output or error that is not printable: for the start of a program.

    What the locale's charset lacks becomes an escape too, in place of a traceback: a serial console may know 128.
    """
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)
    sys.excepthook = _show_defect


def keep_quiet_about_libraries() -> None:
    """Ignore Python's warnings from now on: they are for developers, name files of a library, and come without end.

    What a person has to know is said in a line of our own. ``PYTHONWARNINGS`` and ``python -W`` show them all the same.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def beneath(stream: IO[str]) -> IO[str]:
    """The stream under the guard: for what draws on a terminal, colours and bars, of text that is escaped already."""
    return stream.beneath if isinstance(stream, Guarded) else stream


@contextmanager
def relayed_stderr() -> Iterator[int]:
    """A descriptor for a child's standard error; what is written to it goes out as lines of our own, through the guard.

    Native libraries print what a model calls its ops and tensors. The context ends when no child has it any more.
    """
    reading, writing = os.pipe()
    relay = relaying(reading)
    try:
        yield writing
    finally:
        os.close(writing)
        relay.join(_REST_S)


def relaying(reading: int) -> threading.Thread:
    """Show what comes out of the pipe ``reading``, until its other end is closed."""
    relay = threading.Thread(target=_relay, args=(reading,), daemon=True)
    relay.start()
    return relay


def part_from_libraries(writing: int) -> None:
    """Keep standard error for this program's own text, and let descriptor 2, which is all that native code knows, be
    the pipe ``writing``."""
    if sys.stderr is None:
        return
    sys.stderr.flush()
    own = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    charset = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr = _guarded(open(own, "w", encoding=charset, errors="backslashreplace", buffering=1))  # noqa: SIM115, PTH123 - a descriptor


def _relay(reading: int) -> None:
    with open(reading, encoding="utf-8", errors="backslashreplace", newline="\n") as said:
        # A line without an end is not waited for, nor kept: there may be gigabytes of it.
        while part := said.readline(4096):
            write_line(part.removesuffix("\n"), error=True)


def _show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback: what an error says is one line, whatever is in it."""
    try:
        from traceback import TracebackException  # late: nobody needs it where all is well
    except (ImportError, OSError):  # no descriptor is left
        sys.__excepthook__(kind, error, trace)
        return
    lines = list[str]()
    for part in TracebackException(kind, error, trace).format():
        is_place = part.startswith("  File ")  # with the line of source below it
        lines += part.splitlines() if is_place else [part.strip("\n")]
    write_lines(lines, error=True)


def _guarded(stream: Any) -> Any:
    if stream is None or isinstance(stream, Guarded):
        return stream
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return cast(Any, Guarded(stream))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
