"""Files that a user names: read, or refused in a sentence; of TOML, each key held against those there are."""

import tomllib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maas_agent.base.untrusted import toml_table
from maas_agent.errors import DataError, NoInputError


def content_of(path: Path) -> bytes:
    """Read the bytes of a file; raises `NoInputError` if that is not possible."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read the document at ``path``; raises `NoInputError` if it cannot be read, `DataError` if it is no TOML."""
    try:
        return toml_table(content_of(path).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML: {error}") from None


def check_keys(path: Path, where: str, table: Any, known: Sequence[str]) -> None:
    """Raise `DataError` unless ``table`` is a table of ``known`` keys; it names the key and the choices."""
    if not isinstance(table, dict):
        raise DataError(f"{path}: {where} has to be a table")
    for key in table:
        if key not in known:
            raise DataError(f"{path}: {where} has no key {key!r}: choose from {', '.join(known)}{meant(key, known)}")


def meant(word: str, known: Iterable[str]) -> str:
    """The question whether ``word`` was to be another one that is ``known``; empty if none is near."""
    guess = next(iter(get_close_matches(word, sorted(known), n=1)), "")
    return f" (did you mean {guess!r}?)" if guess else ""
