"""Sealed blobs and wrapped keys: what was sealed comes out, and nothing else does."""

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.sealed import CHUNK, new_content_key, opened, read_key, recipient_id, seal, unwrap, wrap
from maas_agent.errors import BundleError, UnavailableError

KEY = bytes(range(32))
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7]))


def plain(size: int) -> bytes:
    return bytes(number * 31 % 251 for number in range(size))


def open_all(sealed: bytes, key: bytes = KEY, digest: str = digest_of(b"x")) -> bytes:
    return b"".join(opened(io.BytesIO(sealed), key, digest))


@given(SIZES)
@settings(max_examples=40, deadline=None)
def test_what_was_sealed_comes_out(size: int) -> None:
    data = plain(size)
    sealed = seal(data, KEY, digest_of(b"x"))
    assert open_all(sealed) == data
    assert len(sealed) == size + 16 * max(1, -(-size // CHUNK))
    assert size < 32 or data[:32] not in sealed


@given(SIZES, st.integers(0, 1 << 30), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_byte_that_was_changed_is_found(size: int, at: int, by: int) -> None:
    sealed = bytearray(seal(plain(size), KEY, digest_of(b"x")))
    sealed[at % len(sealed)] ^= by
    with pytest.raises(BundleError, match="does not open: it was changed, or the key is another one"):
        open_all(bytes(sealed))


@given(st.integers(1, 4 * (CHUNK + 16) - 1))
@settings(max_examples=40, deadline=None)
def test_a_blob_that_was_cut_is_found(left: int) -> None:
    sealed = seal(plain(4 * CHUNK), KEY, digest_of(b"x"))
    with pytest.raises(BundleError):
        open_all(sealed[:left])


def test_chunks_that_were_moved_doubled_or_added_are_found() -> None:
    sealed = seal(plain(3 * CHUNK), KEY, digest_of(b"x"))
    one, two, three = (sealed[n * (CHUNK + 16) : (n + 1) * (CHUNK + 16)] for n in range(3))
    assert open_all(one + two + three) == plain(3 * CHUNK)
    for forged in (two + one + three, one + one + two + three, one + three, one + two, three, sealed + three, b""):
        with pytest.raises(BundleError):
            open_all(forged)


def test_a_blob_does_not_open_in_the_place_of_another_one_or_with_another_key() -> None:
    sealed = seal(b"weights", KEY, digest_of(b"a"))
    assert open_all(sealed, digest=digest_of(b"a")) == b"weights"
    with pytest.raises(BundleError):
        open_all(sealed, digest=digest_of(b"b"))
    with pytest.raises(BundleError):
        open_all(sealed, new_content_key(), digest_of(b"a"))


@pytest.fixture
def device(tmp_path: Path) -> Path:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = tmp_path / "device.key"
    path.write_bytes(X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def test_a_content_key_opens_for_its_recipient_its_model_and_its_version(device: Path) -> None:
    private = read_key(device)
    public = private.public_key().public_bytes_raw()
    wrapped = base64.b64decode(wrap(KEY, public, "digits", "1.0.0"))
    assert unwrap(wrapped, private, "digits", "1.0.0") == KEY
    assert KEY not in wrapped and len(recipient_id(public)) == 64
    for name, version, sealed in (
        ("digits", "1.0.1", wrapped),
        ("digit", "s1.0.0", wrapped),
        ("digits", "1.0.0", wrapped[:-1]),
        ("digits", "1.0.0", wrapped[:-1] + bytes([wrapped[-1] ^ 1])),
        ("digits", "1.0.0", b""),
    ):
        with pytest.raises(BundleError, match="does not open with this key"):
            unwrap(sealed, private, name, version)
    with pytest.raises(BundleError, match="does not open with this key"):
        unwrap(base64.b64decode(wrap(KEY, bytes(range(1, 33)), "digits", "1.0.0")), private, "digits", "1.0.0")


def test_a_key_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot read the device's key"):
        read_key(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BundleError, match="is no key"):
        read_key(tmp_path / "text")


@pytest.mark.parametrize("kind", [b"y", b"o"], ids=["unknown", "X448, too short"])
def test_a_key_of_another_kind_is_a_sentence_too(tmp_path: Path, kind: bytes) -> None:
    """One byte of the file was another one: what the library raises for it is of kinds of its own."""
    der = bytes.fromhex("302e020100300506032b656e04220420") + bytes(32)
    pem = base64.b64encode(der.replace(b"\x03\x2b\x65\x6e", b"\x03\x2b\x65" + kind)).decode()
    (tmp_path / "device.key").write_text(f"-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(BundleError, match="is no key"):
        read_key(tmp_path / "device.key")
