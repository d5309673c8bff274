"""Environment variables in a configuration's texts: ``${NAME}``, ``${NAME:-otherwise}``; ``$${`` is a plain ``${``.

The notation is that of the POSIX shell (IEEE Std 1003.1, 2.6.2) and of Compose files. A variable that is not set is an
error and not an empty text: a device that called itself ``gate-`` would run, and be somebody else.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class UnknownVariable(ValueError):  # noqa: N818 - it reads as what it is
    """A text refers to what is no variable, or is not set. ``where`` is its key, as in ``pipeline[1].name``."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


def expanded(value: Any, environment: Mapping[str, str], verbatim: Collection[str], where: str = "") -> Any:
    """``value`` (tables, lists, texts) with every reference in a text replaced; raises `UnknownVariable`.

    Keys called as one of ``verbatim``, such as ``command``, are left as they are written.
    """
    match value:
        case str():
            return _REFERENCE.sub(lambda found: _replaced(found, environment, where), value)
        case list():
            return [expanded(part, environment, verbatim, f"{where}[{at}]") for at, part in enumerate(value)]
        case dict():
            return {
                key: part if key in verbatim else expanded(part, environment, verbatim, f"{where}.{key}".lstrip("."))
                for key, part in value.items()
            }
    return value


def _replaced(found: re.Match[str], environment: Mapping[str, str], where: str) -> str:
    written = found.group()
    if written == "$${":
        return "${"
    name, otherwise, default = found.group(1).partition(":-")
    if not written.endswith("}") or not _NAME.match(name):
        raise UnknownVariable(
            where, f"{written!r} is no ${{NAME}} of an environment variable; write $${{ for a plain ${{"
        )
    if name in environment and (environment[name] or not otherwise):
        return environment[name]
    if otherwise:
        return default
    raise UnknownVariable(
        where,
        f"the environment variable {name} is not set: set it, such as by Environment={name}=… in the unit "
        f"(systemctl edit maas-agent), or write ${{{name}:-OTHERWISE}}",
    )
