"""Sealed blobs: encrypted for the devices that may run them, by a key that is wrapped for each of them.

A version of a model has a content key of 32 random bytes. Each blob is encrypted by a key of its own, derived from
that one and the blob's digest (HKDF, RFC 5869), in chunks of 64 KiB with ChaCha20-Poly1305 (RFC 8439); the nonce is a
counter and a byte that marks the last chunk, so that chunks cannot be dropped, doubled or moved (the STREAM
construction: Hoang, Reyhanitabar, Rogaway and Vizar, 2015). The content key is wrapped for each recipient's X25519 key
by HPKE in base mode (RFC 9180). ``cryptography`` is imported when it is needed, and only then.
"""

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import BundleError, UnavailableError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

CHUNK = 1 << 16
_TAG = 16
_COUNTER = 11
_CONTEXT = b"maas-edge content key 1\0"


def new_content_key() -> bytes:
    """A key for one version of a model."""
    return secrets.token_bytes(32)


def seal(data: bytes, content_key: bytes, digest: str) -> bytes:
    """Encrypt the blob called ``digest``; an overhead of 16 bytes for each 64 KiB."""
    cipher = _cipher(content_key, digest)
    pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [b""]
    last = len(pieces) - 1
    return b"".join(cipher.encrypt(_nonce(n, n == last), piece, None) for n, piece in enumerate(pieces))


def opened(sealed: BinaryIO, content_key: bytes, digest: str) -> Iterator[bytes]:
    """The plain bytes of a sealed blob, 64 KiB at a time, each authenticated before it is handed out.

    Raises `BundleError` if anything was changed, cut off, added or moved, or the key is another one.
    """
    cipher = _cipher(content_key, digest)
    number, chunk = 0, sealed.read(CHUNK + _TAG)
    while True:
        following = sealed.read(CHUNK + _TAG)
        try:
            yield cipher.decrypt(_nonce(number, not following), chunk, None)
        except _invalid_tag():
            raise BundleError(
                f"sealed blob {digest[:12]}… does not open: it was changed, or the key is another one"
            ) from None
        if not following:
            return
        number, chunk = number + 1, following


def wrap(content_key: bytes, public: bytes, name: str, version: str) -> str:
    """The content key for a recipient's raw X25519 key, in base64."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    sealed = _suite().encrypt(content_key, X25519PublicKey.from_public_bytes(public), _info(name, version))
    return base64.b64encode(sealed).decode()


def unwrap(wrapped: bytes, private: "X25519PrivateKey", name: str, version: str) -> bytes:
    """The content key; raises `BundleError` if it was wrapped for another key, another model or another version."""
    try:
        key = bytes(_suite().decrypt(wrapped, private, _info(name, version)))
    except (_invalid_tag(), ValueError):
        raise BundleError(f"the content key of {name} {version} does not open with this key") from None
    if len(key) != 32:
        raise BundleError(f"the content key of {name} {version} has {len(key)} bytes")
    return key


def recipient_id(public: bytes) -> str:
    """Who a raw X25519 public key belongs to: its SHA-256."""
    return digest_of(public)


def read_key(path: Path) -> "X25519PrivateKey":
    """A device's key (X25519, PKCS #8, PEM).

    Raises `BundleError` if it is none, `UnavailableError` if it cannot be read.
    """
    require()
    try:
        return decode_key(path.read_bytes())
    except OSError as error:
        raise UnavailableError(f"cannot read the device's key {path}: {error.strerror}") from None
    except WrongKind:
        raise BundleError(f"{path} is no X25519 key: 'maas-agent enroll' makes one") from None
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path} is no key: {error}") from None


class WrongKind(TypeError):  # noqa: N818 - it reads as what it is
    """A key, and none that content keys are wrapped for."""


def decode_key(pem: bytes) -> "X25519PrivateKey":
    """A device's key; raises `WrongKind`, ``ValueError`` or ``TypeError`` if it is none, ``ImportError``."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: Any = load_pem_private_key(pem, password=None)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    except InternalError:  # a key of another length than its kind has
        raise ValueError("it is damaged") from None
    if not isinstance(key, X25519PrivateKey):
        raise WrongKind("it is not of the kind X25519")
    return key


def require() -> None:
    """Raise `UnavailableError` with the line to type if ``cryptography`` is missing, or too old for HPKE."""
    try:
        from cryptography.hazmat.primitives import hpke  # noqa: F401 - asked for here, to answer in a sentence
    except ImportError:
        raise UnavailableError("sealed bundles need a library: pip install 'maas-edge[sealed]'") from None


def _cipher(content_key: bytes, digest: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return ChaCha20Poly1305(HKDF(SHA256(), 32, salt=None, info=bytes.fromhex(digest)).derive(content_key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(_COUNTER, "big") + bytes([last])


def _suite() -> Any:
    require()
    from cryptography.hazmat.primitives import hpke

    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def _info(name: str, version: str) -> bytes:
    return _CONTEXT + name.encode() + b"\0" + version.encode()


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag
