"""Defines what the parts of a manifest are made of: their base, names, shapes, digests."""

import hashlib
import re
from typing import Annotated, Literal

import msgspec

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}\Z")
"""Names of models and stages: they become parts of topics, paths and URLs."""
DType = Literal["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=NAME.pattern)]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Shape = Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=8)]
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
ITEM_BYTES: dict[DType, int] = {
    "float32": 4,
    "float16": 2,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "bool": 1,
}
"""Size of one value, by its type."""


class ManifestPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything in a manifest."""


def digest_of(data: bytes) -> str:
    """SHA-256 as lower-case hex: the name of a blob, the identity of a bundle."""
    return hashlib.sha256(data).hexdigest()
