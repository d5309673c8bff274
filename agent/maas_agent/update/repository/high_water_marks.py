"""Marks what this device has seen and never goes below: versions of roles, and the time of signing.

TUF's client forgets its rollback protection with its files, and its clock with the battery. This file is beside its
folder, not in it; it holds, for every role whose metadata offered a model here, the highest version, and the latest
``signed_at`` of a timestamp. The rules are pure; `load` and `save` are the file.

A publisher who was robbed of a key must be able to recover (TUF 5.3.11, fast-forward attacks): a mark counts while
the role, and the snapshot that names its version, have the keys they had. A thief cannot change those; an old root,
under which they were different, is below the mark of the root, which only grows. All marks belong to the root file
that a person put on the device: with another one begins another history.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.errors import VerifyError, brief
from maas_agent.host.files import make_folder, write_durably
from maas_agent.update.folders import REMEMBERED

_PLACE = Path(REMEMBERED, "marks.json")
_FORMER_PLACE = Path("marks.json")
"""Where older agents kept it."""
_SCHEMA = 1


class HighWaterMark(msgspec.Struct, frozen=True):
    """The highest version of a role's metadata that was trusted here, and the ids of the keys that vouched for it."""

    version: int
    keys: tuple[str, ...]


class Signed(msgspec.Struct, frozen=True):
    """A time of signing, and the ids of the keys of the role that said it."""

    at: datetime
    keys: tuple[str, ...]


class HighWaterMarks(msgspec.Struct, frozen=True):
    """Holds ``anchor``, the SHA-256 of the root file on this device, and the highest version of the ``root``."""

    anchor: str
    root: int = 0
    signed_at: Signed | None = None
    roles: dict[str, HighWaterMark] = {}
    schema: Annotated[int, msgspec.Meta(ge=1)] = _SCHEMA


def trusted_time(clock: datetime, marks: HighWaterMarks) -> datetime:
    """The time by which metadata expires: a clock that is behind what was signed is wrong."""
    return max(clock, marks.signed_at.at) if marks.signed_at else clock


def belonging_to(marks: HighWaterMarks, anchor: str) -> HighWaterMarks:
    """``marks`` if they were made under this root file, else none."""
    return marks if marks.anchor == anchor else HighWaterMarks(anchor)


def without_rotated(marks: HighWaterMarks, timestamp_keys: tuple[str, ...], root: int) -> HighWaterMarks:
    """``marks`` without a time that keys said which are timestamp keys no more."""
    said = marks.signed_at
    if said is None or root < marks.root or said.keys == timestamp_keys:
        return marks
    return msgspec.structs.replace(marks, signed_at=None)


def raised(
    marks: HighWaterMarks, root: int, signed_at: Signed | None, roles: Mapping[str, HighWaterMark]
) -> HighWaterMarks:
    """``marks`` after these versions; raises `VerifyError` if one of them is below its mark."""
    if root < marks.root:
        raise VerifyError(_replayed("root", root, marks.root))
    for role, seen in roles.items():
        known = marks.roles.get(role)
        if known is not None and known.keys == seen.keys and seen.version < known.version:
            raise VerifyError(_replayed(role, seen.version, known.version))
    return HighWaterMarks(marks.anchor, root, _later(marks.signed_at, signed_at), marks.roles | dict(roles))


def load(store: Path, anchor: str, warn: Callable[[str], None]) -> HighWaterMarks:
    """The marks in ``store``; a file that is missing or damaged is a fresh start, the latter with a warning.

    Of the file of a newer agent counts what is known here; it is kept beside, for that agent. Raises ``OSError`` if the
    file is there and cannot be read.
    """
    path = store / _PLACE
    try:
        data = _content(store)
    except FileNotFoundError:
        return HighWaterMarks(anchor)
    newer = _newer_schema(data)
    if newer is not None:
        beside = path.with_name(f"{path.name}.newer")
        with suppress(OSError):
            make_folder(beside.parent)
            write_durably(beside, data)
        warn(f"{path} is of a newer maas-agent (schema {newer}): what is known of it counts, it is kept as {beside}")
    try:
        marks = msgspec.json.decode(data, type=HighWaterMarks)
        return belonging_to(msgspec.structs.replace(marks, schema=_SCHEMA), anchor)
    except MALFORMED as error:
        if newer is not None:
            return HighWaterMarks(anchor)
        aside = path.with_name(f"{path.name}.damaged")
        if path.exists():
            path.replace(aside)
        else:  # in its former place it is an older agent's to change
            make_folder(aside.parent)
            write_durably(aside, data)
        warn(
            f"{path} was damaged ({brief(error)}) and is now {aside}: until the next look at the repository, old "
            "metadata is told only by the files in tuf/ and by the clock"
        )
        return HighWaterMarks(anchor)


def _newer_schema(data: bytes) -> int | None:
    try:
        stated = msgspec.json.decode(data, type=_SchemaOnly).schema
    except MALFORMED:
        return None
    return stated if stated > _SCHEMA else None


class _SchemaOnly(msgspec.Struct):
    schema: int


def save(store: Path, marks: HighWaterMarks) -> None:
    """Persist ``marks``; raises ``OSError`` (disk full) with the old ones untouched."""
    make_folder(store / REMEMBERED)
    write_durably(store / _PLACE, msgspec.json.format(msgspec.json.encode(marks), indent=2) + b"\n")


def _content(store: Path) -> bytes:
    try:
        return (store / _PLACE).read_bytes()
    except FileNotFoundError:
        return (store / _FORMER_PLACE).read_bytes()


def signed_time(said: object, expires: datetime) -> datetime | None:
    """The field ``signed_at`` of a timestamp as a time; raises `VerifyError` if it is none, or after ``expires``."""
    if said is None:
        return None
    try:
        at = datetime.fromisoformat(str(said))
    except ValueError:
        raise VerifyError(f"the repository's timestamp says signed_at = {said!r}, which is no time") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > expires:
        raise VerifyError(
            f"the repository's timestamp was signed at {said}, after it expired: look at the signing clock"
        )
    return at


def _later(one: Signed | None, other: Signed | None) -> Signed | None:
    return max((said for said in (one, other) if said), key=lambda said: said.at, default=None)


def _replayed(role: str, version: int, known: int) -> str:
    return (
        f"the repository's {role} metadata is version {version}, and this device has seen version {known}: "
        "it is an old copy, replayed"
    )
