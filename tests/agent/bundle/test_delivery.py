"""``delivery.json``: what is written is read, and nothing else is."""

import pytest

from maas_agent.bundle.delivery import DeliveredBlob, Delivery, decode_delivery, encode_delivery
from maas_agent.errors import BundleError

PLAIN, PACKED, DEVICE = "a" * 64, "b" * 64, "c" * 64
COMPRESSED = Delivery(blobs={PLAIN: DeliveredBlob(PACKED, 100, "zlib")})
SEALED = Delivery(blobs={PLAIN: DeliveredBlob(PACKED, 100, "sealed-zlib")}, recipients={DEVICE: "a2V5"})


@pytest.mark.parametrize("delivery", [COMPRESSED, SEALED])
def test_a_delivery_is_read_as_it_was_written(delivery: Delivery) -> None:
    """And the bytes are the same each time, for their digest is signed."""
    data = encode_delivery(delivery)
    assert decode_delivery(data) == delivery
    assert encode_delivery(decode_delivery(data)) == data


def test_a_recipient_finds_its_content_key_and_nobody_elses() -> None:
    """A recipient is named by the digest of its public key."""
    assert SEALED.content_key(DEVICE) == b"key"
    assert SEALED.content_key(PLAIN) is None
    assert (SEALED.is_sealed, COMPRESSED.is_sealed) == (True, False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid"),
        (b"[]", "not valid"),
        (b'{"schema": 2}', "has schema 2, this program reads 1: update maas-edge"),
        (b'{"schema": 1, "blobs": {"../x": {"stored": "x", "size": 1, "form": "zlib"}}}', "not valid"),
        (b'{"schema": 1, "blobs": {}, "more": 1}', "not valid"),
        (b'{"schema": 1, "x": ' + b"[" * 100_000, "not valid"),
        (b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
        (encode_delivery(COMPRESSED).replace(b"zlib", b"gzip"), "not valid"),
        (encode_delivery(COMPRESSED).replace(b'"size": 100', b'"size": -1'), "not valid"),
        (encode_delivery(SEALED).replace(b"a2V5", b"a2V!"), "not valid"),
        (encode_delivery(COMPRESSED).replace(b"zlib", b"sealed"), "no recipients"),
        (encode_delivery(SEALED).replace(b"sealed-zlib", b"zlib"), "no recipients"),
    ],
)
def test_what_is_no_delivery_is_refused(data: bytes, reason: str) -> None:
    """Digests become file names, sizes bounds: nothing is taken as it comes."""
    with pytest.raises(BundleError, match=reason):
        decode_delivery(data)
