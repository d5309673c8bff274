"""What is said of a configuration that cannot be read: the file, the line, the key, and what would be right."""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from maas_agent.base.untrusted import toml_table
from maas_agent.config.schema import SOURCES, Config, PipelineSettings, RepositorySettings, ShadowSettings, Source
from maas_agent.config.toml_lines import line_of
from maas_agent.network.addresses import HIDDEN, shown
from maas_agent.runtime.setup import Library

_SECRET_KEY = re.compile(r"^\s*[\w.\"-]*(password|passphrase|passwd|secret|token)\s*=", re.IGNORECASE)
"""A key that people expect to hold a secret; there is none, so nothing is known of its value."""
_INSIDE: dict[Any, Any] = {RepositorySettings | None: RepositorySettings, ShadowSettings | None: ShadowSettings}
"""The section in what may be missing."""


def explained(path: Path, text: str, message: str) -> str:
    """Turn msgspec's message (``... - at `$.broker.url` ``) into one with the line, the neighbours and a guess."""
    problem, _, where = message.partition(" - at `")
    where = where.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", problem)
    if unknown is None:
        return located(path, text, where, f"{without_indexes(where)}: {problem}{_choices(where)}")
    key = unknown.group(1)
    keys = _keys_at(where, text)
    guess = difflib.get_close_matches(key, keys, n=1)
    section = f"[{without_indexes(where)}]" if where else "the top level"
    hint = f"; did you mean {guess[0]!r}?" if guess else "."
    return located(path, text, f"{where}.{key}", f"{section} has no key {key!r}{hint} Its keys: {', '.join(keys)}")


def located(path: Path, text: str, where: str, why: str) -> str:
    """Put the file, the line and what stands there before a reason; ``where`` is a key as ``pipeline[0].name``."""
    number = line_of(text, where.strip("."))
    if number is None:
        return f"{path}: {without_indexes(where)}: {why}"
    return f"{path}, line {number}: {why}\n    {number} | {_shown_line(text.splitlines()[number - 1].strip())}"


def _shown_line(line: str) -> str:
    """A line of the file, without a secret that somebody has written there."""
    return f"{line.partition('=')[0]}= {HIDDEN}" if _SECRET_KEY.match(line) else shown(line)


def _keys_at(where: str, text: str) -> list[str]:
    """The keys that the section at ``where`` may have."""
    kind: Any = Config
    value: Any = toml_table(text)
    for name, index in re.findall(r"([^.\[\]]+)(?:\[(\d+)\])?", where):
        kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[name]
        value = value[name]
        if index:
            kind, value = PipelineSettings, value[int(index)]
        if kind == Source:
            kind = next(option for option in SOURCES if option.__struct_config__.tag == value["type"])
        kind = _INSIDE.get(kind, kind)
    names = [field.name for field in msgspec.structs.fields(kind)]
    return sorted([*names, "type"] if kind in SOURCES else names)


def _choices(where: str) -> str:
    if where.endswith("source.type"):
        return "; choose one of " + ", ".join(str(kind.__struct_config__.tag) for kind in SOURCES)
    if where.endswith("source.command"):
        return (
            '; write the program and its arguments as a list: command = ["/usr/local/bin/read-sensor", "--every", "1"]'
        )
    if where.endswith("runtime"):
        return "; choose one of " + ", ".join(get_args(Library))
    if re.search(r"pipeline\[\d+\]\.(threads|deadline_s)$", where):
        return '; a number, or "auto"'
    return ""


def without_indexes(where: str) -> str:
    """Name a key as a person writes it: ``pipeline[0].name`` becomes ``pipeline.name``."""
    return re.sub(r"\[\d+\]", "", where)
