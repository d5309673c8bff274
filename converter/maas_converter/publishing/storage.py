"""How blobs become what is stored: as they are, or compressed where that pays."""

import zlib
from typing import NamedTuple, Protocol

from maas_agent.bundle.delivery import DeliveredBlob, Delivery, Form
from maas_agent.bundle.manifest import digest_of

LEVEL = 9
"""Of zlib: it is compressed once, and read by every device."""

PAYS = 0.9
"""Stored compressed only if that takes at most this part; weights hardly shrink, and expanding costs devices time."""


class StoredBlob(NamedTuple):
    """Bytes as they are stored, under their digest; ``form`` is ``None`` for a blob that is stored as it is."""

    digest: str
    data: bytes
    form: Form | None


class Storage(Protocol):
    """How the blobs of a version are kept, and who may open them."""

    def keep(self, digest: str, data: bytes, /) -> StoredBlob:
        """Plain digest and content of a blob to what is stored of it."""
        ...

    def recipients(self, name: str, version: str, /) -> dict[str, str]:
        """The content key for each recipient, by id; empty if nothing is sealed."""
        ...


class PlainStorage:
    """Stores blobs for everybody, as they are or compressed."""

    def keep(self, digest: str, data: bytes) -> StoredBlob:
        """Compress a blob, if that makes it smaller by enough."""
        packed = compressed(data)
        return StoredBlob(digest_of(packed), packed, "zlib") if packed is not None else StoredBlob(digest, data, None)

    def recipients(self, _name: str, _version: str) -> dict[str, str]:
        """Name nobody: everybody may open the version."""
        return {}


def compressed(data: bytes) -> bytes | None:
    """``data`` compressed; ``None`` where that does not pay."""
    packed = zlib.compress(data, LEVEL)
    return packed if len(packed) <= PAYS * len(data) else None


def delivery_of(kept: dict[str, StoredBlob], recipients: dict[str, str]) -> Delivery | None:
    """What tells a device how these blobs, by plain digest, are stored; ``None`` if all of them are as they are."""
    blobs = {
        digest: DeliveredBlob(stored=each.digest, size=len(each.data), form=each.form)
        for digest, each in kept.items()
        if each.form is not None
    }
    return Delivery(blobs=blobs, recipients=recipients) if blobs else None
