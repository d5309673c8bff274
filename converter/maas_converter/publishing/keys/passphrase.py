"""Where a passphrase comes from: a file, or a person at a terminal; never the command line, which others can read."""

import codecs
import getpass
import os
import sys
from pathlib import Path

from maas_agent.base.terminal import printable
from maas_agent.errors import NoInputError, UsageError

VARIABLE = "MAAS_PASSPHRASE_FILE"
"""Names the file where ``--passphrase-file`` does not."""

_known: dict[str, bytes] = {}
_file: Path | None = None


def use(path: Path | None) -> None:
    """Take passphrases from this file; ``None``: from where `VARIABLE` says, or from a person."""
    global _file
    _file = path


def from_file(path: Path) -> bytes:
    """The first line of ``path``; raises `NoInputError` if it cannot be read, `UsageError` if it is empty."""
    try:
        first = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise NoInputError(f"cannot read the passphrase {path}: {error.strerror}") from None
    if not first:
        raise UsageError(f"{path} is empty: its first line is the passphrase")
    return first


def ask(what: str) -> bytes:
    """The passphrase that ``what`` is encrypted with, asked for once. Raises `UsageError` where nobody can be asked."""
    path = _named()
    if path is not None:
        return from_file(path)
    if what not in _known:
        _known[what] = _typed(f"passphrase of {what}: ", f"{what} is encrypted")
    return _known[what]


def typed() -> list[bytes]:
    """What was typed so far, each once."""
    return list(dict.fromkeys(_known.values()))


def ask_new() -> bytes:
    """A new passphrase, typed twice. Raises `UsageError` if they differ, are empty, or nobody can be asked."""
    path = _named()
    if path is not None:
        return from_file(path)
    typed = _typed("passphrase for the new keys: ", "keys are kept encrypted")
    if not typed:
        raise UsageError("an empty passphrase is none: name --no-passphrase if that is what you want")
    if _typed("again: ", "") != typed:
        raise UsageError("the two passphrases differ: nothing was made")
    return typed


def _named() -> Path | None:
    variable = os.environ.get(VARIABLE)
    return _file or (Path(variable) if variable else None)


def _typed(prompt: str, why: str) -> bytes:
    if not sys.stdin.isatty():
        raise UsageError(f"{why}, and there is no terminal to ask at: give --passphrase-file FILE, or set {VARIABLE}")
    return getpass.getpass(printable(prompt)).encode()
