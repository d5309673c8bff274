"""Looks at a file that TLS cannot use, and writes the line that makes what it can, by the first bytes of it.

TLS takes PEM: text, base64 between two lines with a label (RFC 7468).
"""

import codecs
import os
import pwd
import re
from pathlib import Path
from typing import Literal

import msgspec

Wanted = Literal["certificate", "key"]
"""What a file is to hold: certificates, or a private key."""
Kind = Literal[
    "certificate", "key", "encrypted key", "DER certificate", "DER key", "encrypted DER key", "PKCS#12", "PKCS#7",
    "DER PKCS#7", "request", "public key", "revocation list", "OpenSSH key", "PuTTY key", "Java key store",
    "byte order mark", "UTF-16", "nothing known",
]  # fmt: skip

_MOST_BYTES = 1 << 22
_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----", re.MULTILINE)
_LABELS: dict[str, Kind] = {
    "CERTIFICATE": "certificate",
    "X509 CERTIFICATE": "certificate",
    "TRUSTED CERTIFICATE": "certificate",
    "ENCRYPTED PRIVATE KEY": "encrypted key",
    "PRIVATE KEY": "key",
    "RSA PRIVATE KEY": "key",
    "EC PRIVATE KEY": "key",
    "DSA PRIVATE KEY": "key",
    "OPENSSH PRIVATE KEY": "OpenSSH key",
    "CERTIFICATE REQUEST": "request",
    "NEW CERTIFICATE REQUEST": "request",
    "PUBLIC KEY": "public key",
    "RSA PUBLIC KEY": "public key",
    "X509 CRL": "revocation list",
    "PKCS7": "PKCS#7",
}
_CERTIFICATES = {
    "DER certificate": ("a certificate in DER", "openssl x509 -inform DER -in {path} -out {path}.pem"),
    "PKCS#12": ("a PKCS#12 file", "openssl pkcs12 -in {path} -nokeys -out {path}.pem"),
    "PKCS#7": ("a PKCS#7 file", "openssl pkcs7 -print_certs -in {path} -out {path}.pem"),
    "DER PKCS#7": ("a PKCS#7 file in DER", "openssl pkcs7 -inform DER -print_certs -in {path} -out {path}.pem"),
}
_KEYS = {
    "DER key": ("a private key in DER", "openssl pkey -inform DER -in {path} -out {path}.pem"),
    "encrypted DER key": ("an encrypted private key in DER", "openssl pkcs8 -inform DER -in {path} -out {path}.pem"),
    "PKCS#12": ("a PKCS#12 file", "openssl pkcs12 -in {path} -nocerts -nodes -out {path}.pem"),
    "OpenSSH key": ("a key of OpenSSH", "install -m 600 {path} {path}.pem; ssh-keygen -p -N '' -m PKCS8 -f {path}.pem"),
}
_EITHER = {
    "Java key store": (
        "a Java key store",
        "keytool -importkeystore -srckeystore {path} -destkeystore {path}.p12 -deststoretype PKCS12",
    ),
    "UTF-16": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {path} > {path}.pem"),
}
_CONVERSIONS = {"certificate": _CERTIFICATES | _EITHER, "key": _KEYS | _EITHER}
"""For what a file is to hold: what it may hold instead, in words, and the line that makes PEM of it."""


class FileDiagnosis(msgspec.Struct, frozen=True):
    """Why a file cannot be used (``trouble``, ``None`` if it looks right), and what it holds if it can be read."""

    trouble: str | None
    kind: Kind = "nothing known"


def look(path: str, wanted: Wanted) -> FileDiagnosis:
    """Look at a file that ``wanted`` was to be in."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES)
    except PermissionError:
        return FileDiagnosis(_not_ours(path))
    except IsADirectoryError:
        return FileDiagnosis(f"{path} is a folder: name a file")
    except OSError as error:
        missing = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        return FileDiagnosis(f"{path}: {missing}")
    if not data.strip():
        return FileDiagnosis(f"{path} is empty: copy the {_words(wanted)} there again")
    kind = kind_of(data, wanted)
    if kind == wanted or (wanted == "key" and kind == "encrypted key"):
        return FileDiagnosis(None, kind)
    return FileDiagnosis(f"{path} {_other(path, kind, wanted)}", kind)


def kind_of(data: bytes, wanted: Wanted) -> Kind:
    """What ``data`` is; of several things in one PEM file the one that is ``wanted`` counts."""
    data = data.removeprefix(codecs.BOM_UTF8)  # OpenSSL skips it too
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    kinds: list[Kind] = [_LABELS.get(label.decode(), "nothing known") for label in _LABEL.findall(data)]
    if kinds:
        if "key" in kinds and b"Proc-Type: 4,ENCRYPTED" in data:  # RFC 1421 4.6.1.1
            kinds[kinds.index("key")] = "encrypted key"
        fits: list[Kind] = ["certificate"] if wanted == "certificate" else ["key", "encrypted key"]
        return next((kind for kind in kinds if kind in fits), kinds[0])
    if data.startswith(b"PuTTY-User-Key-File"):
        return "PuTTY key"
    if data.startswith(b"\xfe\xed\xfe\xed"):
        return "Java key store"
    return _der(data)


def _der(data: bytes) -> Kind:
    """What begins in this way in DER (X.690): each is a sequence, and what it begins with differs."""
    content = _inside(data)
    if content is None:
        return "nothing known"
    if content.startswith(b"\x02\x01\x03"):  # version 3, RFC 7292 4
        return "PKCS#12"
    if content.startswith((b"\x02\x01\x00", b"\x02\x01\x01")):  # RFC 5208 5, RFC 8017 A.1.2; RFC 5915 3
        return "DER key"
    if content.startswith(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"):  # RFC 2315
        return "DER PKCS#7"
    inner = _inside(content)
    if inner is not None and inner.startswith(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05"):  # PBES2, RFC 8018
        return "encrypted DER key"
    return "DER certificate" if inner is not None and inner.startswith((b"\xa0", b"\x02")) else "nothing known"


def _inside(data: bytes) -> bytes | None:
    """What is inside of the sequence at the beginning."""
    if len(data) < 4 or data[0] != 0x30:
        return None
    return data[2 + (data[1] & 0x7F if data[1] & 0x80 else 0) :]


def _other(path: str, kind: Kind, wanted: Wanted) -> str:
    if kind in _CONVERSIONS[wanted]:
        what, line = _CONVERSIONS[wanted][kind]
        return f"holds {what}, TLS takes PEM: {line.format(path=path)}"
    if kind == "request":
        return "holds a request for a certificate: name the certificate that the authority made of it"
    if kind == "nothing known":
        return f"holds no {_words(wanted)} in PEM (-----BEGIN …): openssl asn1parse -in {path} says what it is"
    article = "an" if kind[0] in "aeiou" else "a"
    return f"holds {article} {kind}, no {_words(wanted)}: name the file that holds one"


def _words(wanted: Wanted) -> str:
    return "certificate" if wanted == "certificate" else "private key"


def _not_ours(path: str) -> str:
    me = _name(os.geteuid())
    try:
        status = Path(path).stat()
    except OSError:  # the folder is not open to us
        return f"{path}: its folder may not be entered by {me}, as whom this runs"
    whose = f"it is {_name(status.st_uid)}'s (mode {status.st_mode & 0o777:o})"
    return f"{path} may not be read by {me}, as whom this runs: {whose}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
