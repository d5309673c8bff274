"""Numbers the schemas of the manifest: which are read, and which one a manifest needs.

The number is the lowest that suffices, so that devices that were not updated yet go on taking whatever they can run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from maas_agent.errors import BundleError

OLDEST, NEWEST = 1, 2
"""The schemas that this code reads. It writes the lowest that has what the manifest uses."""

Since = Mapping[str, int]
"""By ``KIND`` or ``KIND.FIELD``, the schema that brought it; what is not named is as old as the manifest."""


def needed(manifest: msgspec.Struct, since: Since) -> int:
    """The lowest schema that has everything ``manifest`` uses: kinds, and fields that differ from their default."""
    return max((since.get(name, OLDEST) for name in _used(manifest)), default=OLDEST)


def check_schema(found: int) -> None:
    """Raise `BundleError` unless this program reads manifests of the schema ``found``."""
    if not OLDEST <= found <= NEWEST:
        raise BundleError(
            f"manifest has schema {found}, this program reads {OLDEST} to {NEWEST}: update maas-edge on this machine"
        )


def check_used(stated: int, manifest: msgspec.Struct, since: Since) -> None:
    """Raise `BundleError` if ``manifest`` uses what the schema it states does not have."""
    for name in _used(manifest):
        if since.get(name, OLDEST) > stated:
            raise BundleError(f"manifest states schema {stated}, but has {name}, which came with {since[name]}")


def _used(value: Any) -> Iterator[str]:
    """Names of all kinds below ``value``, and of their fields that differ from the default."""
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
                yield from _used(held)
