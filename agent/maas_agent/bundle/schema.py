"""Numbers the schemas of what is signed: which are read, and which one a document needs.

The number is the lowest that suffices, so that devices that were not updated yet go on taking whatever they can run. A
document of a newer schema is refused whole: a device that skipped a step it does not know would answer wrongly without
a word.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from maas_agent import __version__
from maas_agent.errors import BundleError

OLDEST, NEWEST = 1, 2
"""The schemas of the manifest that this code reads. It writes the lowest that has what the manifest uses."""

Since = Mapping[str, int]
"""By ``KIND``, ``KIND.FIELD`` or ``KIND.FIELD=VALUE`` (of a text), the schema that brought it; what is not named is as
old as the document."""


class Schemas(msgspec.Struct, frozen=True):
    """The schemas of one kind of document that are read. ``document`` is what an error calls it."""

    document: str
    oldest: int
    newest: int
    since: Since = {}


_REFUSAL = re.compile(r"\b(manifest|delivery) has schema (-?\d+), this program reads ")


def needed(value: msgspec.Struct, since: Since) -> int:
    """The lowest schema that has everything ``value`` uses: kinds, and fields that differ from their default."""
    return max((since.get(name, OLDEST) for name in _used(value)), default=OLDEST)


def check_schema(found: int, schemas: Schemas | None = None, unknown: str | None = None) -> None:
    """Raise `BundleError` unless this program reads documents of the schema ``found``.

    ``unknown`` is what it has that this program does not know, as far as that can be told.
    """
    schemas = schemas or Schemas("manifest", OLDEST, NEWEST)
    if schemas.oldest <= found <= schemas.newest:
        return
    read = f"{schemas.oldest} to {schemas.newest}" if schemas.oldest < schemas.newest else f"{schemas.newest}"
    what = f" and not {unknown}" if unknown else ""
    raise BundleError(
        f"{schemas.document} has schema {found}, this program reads {read}: update maas-edge on this machine "
        f"({__version__} knows schema {schemas.newest}{what})"
    )


def check_used(stated: int, value: msgspec.Struct, since: Since, document: str = "manifest") -> None:
    """Raise `BundleError` if ``value`` uses what the schema it states does not have."""
    for name in _used(value):
        if since.get(name, OLDEST) > stated:
            raise BundleError(f"{document} states schema {stated}, but has {name}, which came with {since[name]}")


def is_of_newer(reason: str) -> bool:
    """Whether a bundle was refused for its schema alone: a newer program reads it."""
    return _REFUSAL.search(reason) is not None


def is_overcome(reason: str, **newest: int) -> bool:
    """Whether a bundle was refused for a schema that this program reads: an earlier one said ``reason``.

    ``newest`` are the schemas of ``manifest`` and ``delivery`` that are read.
    """
    found = _REFUSAL.search(reason)
    return found is not None and OLDEST <= int(found[2]) <= newest[found[1]]


def _used(value: Any) -> Iterator[str]:
    """Names of all kinds below ``value``, of their fields that differ from the default, and of those that are texts
    with their values."""
    if isinstance(value, tuple):
        for part in value:
            yield from _used(part)
    elif isinstance(value, dict):
        yield from _used(tuple(value.values()))
    elif isinstance(value, msgspec.Struct):
        kind = type(value).__name__
        yield kind
        for field in msgspec.structs.fields(value):
            held = getattr(value, field.name)
            if held != field.default:
                yield f"{kind}.{field.name}"
                if isinstance(held, str):
                    yield f"{kind}.{field.name}={held}"
                yield from _used(held)
