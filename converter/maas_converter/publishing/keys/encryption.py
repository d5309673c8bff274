"""Private keys encrypted by a passphrase: PKCS #8 (RFC 5958) with PBES2 (RFC 8018), as every TLS library reads it.

Made here because ``cryptography`` writes these with 2,048 rounds of PBKDF2, which leaves a short passphrase to whoever
finds the file, and lets nobody choose more: as of 50.0 its builder knows rounds for OpenSSH and PKCS #12 only. Reading
them is left to it. pycryptodome can choose, and would be a second library of ciphers, 16 MB, for twenty lines of DER.
"""

import base64
import os
from textwrap import wrap

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ROUNDS = 600_000
"""Of PBKDF2 with HMAC-SHA-256: a fraction of a second for each key, here and for each guess elsewhere."""

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d02090500")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04


def encrypted(pem: bytes, passphrase: bytes) -> bytes:
    """The private key in ``pem``, encrypted, as PEM."""
    plain = load_pem_private_key(pem, None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt, iv = os.urandom(16), os.urandom(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(passphrase)
    padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    return _pem(_der(_SEQUENCE, _algorithm(salt, iv), _der(_OCTETS, sealed)))


def _algorithm(salt: bytes, iv: bytes) -> bytes:
    # RFC 8018, A.4: PBES2-params of a key derivation and a cipher.
    rounds = ROUNDS.to_bytes(ROUNDS.bit_length() // 8 + 1, "big")
    derivation = _der(_SEQUENCE, _der(_OCTETS, salt), _der(_INTEGER, rounds), _der(_SEQUENCE, _HMAC_SHA256))
    cipher = _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, iv))
    return _der(_SEQUENCE, _PBES2, _der(_SEQUENCE, _der(_SEQUENCE, _PBKDF2, derivation), cipher))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def _pem(der: bytes) -> bytes:
    kind = "ENCRYPTED PRIVATE KEY-----"
    lines = wrap(base64.b64encode(der).decode(), 64)
    return "\n".join([f"-----BEGIN {kind}", *lines, f"-----END {kind}", ""]).encode()
