"""Reads, checks and writes a manifest as bytes, in one way only."""

import re

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle import schema
from maas_agent.bundle.manifest.checks import check_consistency
from maas_agent.bundle.manifest.model import SINCE, Manifest
from maas_agent.errors import BundleError

_UNKNOWN = re.compile(
    r"(?:unknown field|[Ii]nvalid (?:enum )?value)(?: of)? ([`'][^`']{1,64}[`'])(?: - at `\$\.?([^`]{0,200})`)?"
)
"""What msgspec says of a field, or a kind, that a structure does not have, and where."""

MAX_MANIFEST_BYTES = 1 << 20


def lowest_schema(manifest: Manifest) -> int:
    """The schema that ``manifest`` is to state: the lowest that has everything it uses."""
    return schema.needed(manifest, SINCE)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest: what is signed, and whose digest is the bundle's identity."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Raises `BundleError` if it is too large, no manifest, of an unknown schema, or inconsistent in itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"manifest is {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    stated = _schema_of(data)
    schema.check_schema(stated, unknown=_first_unknown(data) if stated > schema.NEWEST else None)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except MALFORMED as error:
        raise BundleError(f"manifest is not valid: {error}") from None
    schema.check_used(manifest.schema, manifest, SINCE)
    check_consistency(manifest)
    return manifest


def _first_unknown(data: bytes) -> str | None:
    """The first field or kind of a newer manifest that this program does not know, with where it stands."""
    try:
        msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        found = _UNKNOWN.search(str(error))
        return f"{found[1]} at {found[2] or 'the top'}" if found else None
    except MALFORMED:
        pass  # this is told by whoever reads its schema, some day
    return None


class _SchemaOnly(msgspec.Struct):
    schema: int


def _schema_of(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=_SchemaOnly).schema
    except MALFORMED as error:
        raise BundleError(f"manifest is not valid: {error}") from None
