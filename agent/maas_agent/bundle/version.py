"""Compares versions of models (SemVer 2.0.0), and matches them with the ranges that a pipeline accepts."""

import re

import semver

from maas_agent.errors import DataError

_COMPARATOR = re.compile(r"^(==|!=|>=|<=|>|<|\^|~|)\s*(\d+(?:\.\d+){0,2}(?:[-+][0-9A-Za-z.+-]+)?)$")


MAX_CHARACTERS = 255
"""Of a version: it becomes a part of paths and URLs, and stands in sentences."""


def parse_version(text: str) -> semver.Version:
    """Read a SemVer 2.0.0 version such as ``1.2.0``; raise `DataError` if it is none."""
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError
        return semver.Version.parse(text)
    except ValueError:
        raise DataError(f"{text!r} is no version: write three numbers, as in 1.2.0 (semver.org)") from None


class VersionRange:
    """What a pipeline accepts: ``*``, ``1.2.0``, ``1.2``, ``^1.2``, ``~1.2.3``, ``>=1.0, <2``.

    Comparators are joined by commas or spaces and must all hold. ``1`` and ``1.2`` stand for every version that
    begins so; ``^1.2`` allows what does not change the leftmost non-zero number, ``~1.2`` what does
    not change the minor one (the meanings npm and Cargo give them). A pre-release is in a range only if the range
    names one.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip() or "*"
        joined = re.sub(r"(==|!=|>=|<=|>|<|\^|~)\s+", r"\1", self.text)
        parts = [part for part in re.split(r"[,\s]+", joined) if part and part != "*"]
        self._bounds = [bound for part in parts for bound in _bounds(part, text)]
        self._names_prerelease = any(limit.prerelease for operator, limit in self._bounds if operator != "<")

    def __contains__(self, version: semver.Version) -> bool:
        if version.prerelease and not self._names_prerelease:
            return False
        return all(_holds(operator, version, limit) for operator, limit in self._bounds)


def _bounds(part: str, text: str) -> list[tuple[str, semver.Version]]:
    match = _COMPARATOR.match(part)
    if match is None:
        raise DataError(f"{text!r} is no version range: write for example '1.2', '^1.2' or '>=1.0, <2'")
    operator, written = match.groups()
    numbers = re.split(r"[-+]", written, maxsplit=1)[0].count(".") + 1
    try:
        if len(written) > MAX_CHARACTERS:
            raise ValueError
        low = semver.Version.parse(written, optional_minor_and_patch=True)
    except ValueError:
        raise DataError(f"{text!r} is no version range: {written[:40]!r} is no version (semver.org)") from None
    # Of 1.2, all that begins so ends before 1.3.0.
    above = low.bump_major() if numbers == 1 else low.bump_minor()
    if operator == "^":
        return [(">=", low), ("<", _after_caret(low, numbers))]
    if operator == "~":
        return [(">=", low), ("<", above)]
    if numbers == 3:
        return [(operator or "==", low)]
    if operator == "!=":
        raise DataError(f"{text!r} is no version range: after != write three numbers")
    return {
        "": [(">=", low), ("<", above)],
        "==": [(">=", low), ("<", above)],
        ">": [(">=", above)],
        "<=": [("<", above)],
    }.get(operator, [(operator, low)])


def _after_caret(low: semver.Version, numbers: int) -> semver.Version:
    if low.major or numbers == 1:
        return low.bump_major()
    if low.minor or numbers == 2:
        return low.bump_minor()
    return low.bump_patch()


def _holds(operator: str, version: semver.Version, limit: semver.Version) -> bool:
    order = version.compare(limit)
    if operator == "<":
        # The first pre-release of a bound is not below it for a person: 2.0.0-rc.1 is not in "<2".
        return order < 0 and not (version.prerelease and version.replace(prerelease=None) == limit)
    holds: dict[str, bool] = {"==": order == 0, "!=": order != 0, ">=": order >= 0, "<=": order <= 0, ">": order > 0}
    return holds[operator]
