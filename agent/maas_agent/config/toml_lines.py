"""Where in a TOML text a key stands: ``tomllib`` does not say, and a person wants the line."""

import re

_HEADER = re.compile(r"^\s*(\[\[?)([^\]]+)\]")
_LONGEST = 1000
"""Characters of a line that are looked at: no key is as long."""
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


def line_of(text: str, where: str) -> int | None:
    """The line (from 1) of ``where``, such as ``pipeline[1].source.type``.

    It is that of its section if the key is not written, and ``None`` if not even the section is.
    """
    found: int | None = None
    section, counts = "", dict[str, int]()
    for number, whole in enumerate(text.splitlines(), start=1):
        line = whole[:_LONGEST]
        if header := _HEADER.match(line):
            section = _section(header.group(2).strip(), header.group(1) == "[[", counts)
            if where == section or (where.startswith(section + ".") and found is None):
                found = number
        elif key := _KEY.match(line):
            path = f"{section}.{key.group(1)}".lstrip(".")
            if path == where:
                return number
            if where.startswith((path + ".", path + "[")):
                found = number  # an inline table or an array: its line is as close as this gets
    return found


def _section(written: str, repeated: bool, counts: dict[str, int]) -> str:
    """The full path of a header, with the index of each array of tables it stands in."""
    if repeated:
        counts[written] = counts.get(written, -1) + 1
    path = ""
    for part in (part.strip().strip("\"'") for part in written.split(".")):
        plain = re.sub(r"\[\d+\]", "", f"{path}.{part}".lstrip("."))
        path = f"{path}.{part}".lstrip(".")
        if plain in counts:
            path += f"[{counts[plain]}]"
    return path
