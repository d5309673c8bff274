"""Says how a bundle's blobs are stored in the repository, where that is not plainly: TUF target ``delivery.json``.

The manifest says what a blob is, the delivery only how it travels. So the manifest, its digest and its signature stay
the same when a bundle is compressed, sealed for other devices, or neither. The manifest also fixes the plain size
of every blob: expanding stops there.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import Sha256, Size
from maas_agent.bundle.schema import Schemas, check_schema, check_used, needed
from maas_agent.errors import BundleError

SCHEMAS = Schemas("the delivery", oldest=1, newest=1)
"""The schemas of the delivery that this code reads; it writes the lowest that has what a delivery uses."""

MAX_DELIVERY_BYTES = 1 << 20
_CHUNK = 1 << 16

Form = Literal["zlib", "sealed", "sealed-zlib"]
"""``sealed-zlib``: compressed first, then sealed."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything in a delivery."""


class DeliveredBlob(_Part, frozen=True):
    """A blob as it lies in the repository: the SHA-256 and size of its stored bytes, and their form."""

    stored: Sha256
    size: Size
    form: Form

    @property
    def is_sealed(self) -> bool:
        """Whether nothing plain of it may be written to a disk."""
        return self.form != "zlib"


class Delivery(_Part, frozen=True, kw_only=True):
    """``blobs`` maps plain digests to what is stored; those that are not named are stored plainly.

    ``recipients`` maps the ids of devices and groups (the SHA-256 of the raw public key) to the content key, sealed
    for each, in base64; it is empty if nothing is sealed.
    """

    schema: int = SCHEMAS.oldest
    blobs: dict[Sha256, DeliveredBlob]
    recipients: dict[Sha256, Annotated[str, msgspec.Meta(max_length=4096)]] = {}

    @property
    def is_sealed(self) -> bool:
        """Whether it takes a key to open some blob."""
        return any(stored.is_sealed for stored in self.blobs.values())

    def content_key(self, recipient: str) -> bytes | None:
        """The content key as it was sealed for this recipient; ``None`` if it is none."""
        sealed = self.recipients.get(recipient)
        return base64.b64decode(sealed) if sealed is not None else None


class _Schema(msgspec.Struct):
    schema: int


def expanded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The expanded bytes of a zlib stream, 64 KiB at a time at the most, however far; raises ``zlib.error``."""
    expander = zlib.decompressobj()
    for chunk in chunks:
        rest = chunk
        while rest:
            yield expander.decompress(rest, _CHUNK)
            rest = expander.unconsumed_tail
        if expander.unused_data:
            raise zlib.error("something follows the compressed data")
    yield expander.flush()
    if not expander.eof:
        raise zlib.error("the compressed data ends too early")


def encode_delivery(delivery: Delivery) -> bytes:
    """The bytes of ``delivery.json``, which is what is signed, with the lowest schema that suffices."""
    stated = msgspec.structs.replace(delivery, schema=needed(delivery, SCHEMAS.since))
    return msgspec.json.format(msgspec.json.encode(stated, order="sorted"), indent=2) + b"\n"


def decode_delivery(data: bytes) -> Delivery:
    """Read and check ``delivery.json``.

    Raises `BundleError` if it is too large, no delivery, of an unknown schema, or inconsistent in itself.
    """
    if len(data) > MAX_DELIVERY_BYTES:
        raise BundleError(f"the delivery is larger than {MAX_DELIVERY_BYTES} bytes")
    try:
        check_schema(msgspec.json.decode(data, type=_Schema).schema, SCHEMAS)
        delivery = msgspec.json.decode(data, type=Delivery)
        check_used(delivery.schema, delivery, SCHEMAS.since, "the delivery")
        for sealed in delivery.recipients.values():
            base64.b64decode(sealed, validate=True)
    except (*MALFORMED, binascii.Error, ValueError) as error:
        raise BundleError(f"the delivery is not valid: {error}") from None
    if delivery.is_sealed != bool(delivery.recipients):
        raise BundleError("the delivery has sealed blobs and no recipients, or the other way round")
    return delivery
