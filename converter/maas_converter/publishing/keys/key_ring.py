"""A publisher's keys: files ``ROLE.pem`` (or ``ROLE@NAME.pem``) in one or more folders, and ``.pub`` files of others.

A folder may hold several keys of a role, its own or those of colleagues; of these only the public half.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from securesystemslib.signer import CryptoSigner, Key, SSlibKey  # type: ignore[attr-defined]  # it has no __all__

from maas_agent.base.untrusted import MALFORMED
from maas_agent.errors import DataError, NoInputError
from maas_converter.publishing.keys import passphrase

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

Ask = Callable[[str], bytes]
"""What is encrypted to its passphrase."""


class KeyRing:
    """All keys in these folders. ``ask`` is called for a key that is encrypted, and only then."""

    def __init__(self, folders: Path | Sequence[Path], ask: Ask = passphrase.ask) -> None:
        self.folders = [folders] if isinstance(folders, Path) else list(folders)
        self.ask = ask
        self._signers: dict[Path, CryptoSigner] = {}

    def public(self, role: str) -> list[Key]:
        """The public keys for ``role``, own and of others; raises `NoInputError` if there are none."""
        found = {key.keyid: key for path in self._files(role, ".pub") for key in [read_public(path)]}
        for path in self._files(role, ".pem"):
            if not path.with_suffix(".pub").exists():
                key = self._signer(path).public_key
                found.setdefault(key.keyid, key)
        if not found:
            raise NoInputError(f"there is no key of {role} ({role}.pem or {role}.pub) in {self._where}")
        return list(found.values())

    def signers(self, role: str, keyids: Iterable[str]) -> list[CryptoSigner]:
        """The private keys for ``role`` that are among ``keyids``; of the others the passphrase is not asked for."""
        wanted, found = set(keyids), dict[str, CryptoSigner]()
        for path in self._files(role, ".pem"):
            public = path.with_suffix(".pub")
            if public.exists() and read_public(public).keyid not in wanted:
                continue
            signer = self._signer(path)
            if signer.public_key.keyid in wanted:
                found[signer.public_key.keyid] = signer
        return list(found.values())

    def has(self, role: str) -> bool:
        """Whether there is any private key of ``role``."""
        return bool(self._files(role, ".pem"))

    def root_keyids(self) -> set[str]:
        """The ids of the root keys here, own and of others; no passphrase is asked for."""
        return {read_public(path).keyid for path in self._files("root", ".pub")}

    def required(self, role: str, keyids: Iterable[str]) -> list[CryptoSigner]:
        """The keys that `signers` finds; raises `NoInputError` or `DataError` if there is none that counts."""
        found = self.signers(role, keyids)
        if found:
            return found
        if self.has(role):
            path = self._files(role, ".pem")[0]
            raise DataError(f"{path} is not a {role} key of this repository")
        raise NoInputError(f"cannot read the {role} key {self.folders[0] / f'{role}.pem'}: No such file or directory")

    def content_key(self) -> "X25519PrivateKey":
        """The publisher's own key of sealed versions, ``content.pem``; raises as `read_content` does."""
        return read_content(self._content(".pem"), self.ask)

    def content_public(self) -> bytes:
        """Its public half, raw; raises `NoInputError` if there is none."""
        path = self._content(".pub")
        try:
            return base64.b64decode(path.read_text().split()[2], validate=True)
        except (OSError, ValueError, IndexError):
            raise DataError(f"{path} is no public key: 'maas-converter keys create --role content' makes it") from None

    def _content(self, suffix: str) -> Path:
        files = self._files("content", suffix)
        if not files:
            raise NoInputError(
                f"sealing needs content{suffix} in {self._where}: "
                "'maas-converter keys create DIR --role content' makes it"
            )
        return files[0]

    @property
    def _where(self) -> str:
        return ", ".join(str(folder) for folder in self.folders)

    def _files(self, role: str, suffix: str) -> list[Path]:
        named = [path for folder in self.folders for path in sorted(folder.glob(f"{role}@*{suffix}"))]
        plain = [folder / f"{role}{suffix}" for folder in self.folders]
        return [path for path in plain if path.exists()] + named

    def _signer(self, path: Path) -> CryptoSigner:
        if path not in self._signers:
            self._signers[path] = CryptoSigner(read_private(path, self.ask))
        return self._signers[path]


def read_private(path: Path, ask: Ask = passphrase.ask) -> "Ed25519PrivateKey":
    """The Ed25519 key in a PEM file; raises `NoInputError` if there is none, `DataError` if it is no such key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = _read(path, ask)
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{path} is no Ed25519 key")
    return key


def read_content(path: Path, ask: Ask = passphrase.ask) -> "X25519PrivateKey":
    """The X25519 key in a PEM file; raises `NoInputError` if there is none, `DataError` if it is no such key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = _read(path, ask)
    if not isinstance(key, X25519PrivateKey):
        raise DataError(f"{path} is no X25519 key")
    return key


def _read(path: Path, ask: Ask) -> Any:
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        pem = path.read_bytes()
    except OSError as error:
        raise NoInputError(f"cannot read the {path.stem} key {path}: {error.strerror}") from None
    encrypted = b"ENCRYPTED PRIVATE KEY" in pem
    # Keys that were made together have one passphrase: whoever has typed it once is not asked again.
    for word in [*passphrase.typed(), None] if encrypted else [None]:
        try:
            return load_pem_private_key(pem, password=ask(str(path)) if encrypted and word is None else word)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
            continue
    if encrypted:
        raise DataError(f"{path} does not open: the passphrase is another one, or the file is damaged")
    raise DataError(f"{path} is no key: 'maas-converter keys create' makes PKCS #8 PEM files")


def read_public(path: Path) -> Key:
    """The public key in a ``.pub`` file; raises `DataError` if it is none."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return SSlibKey.from_dict(known.pop("keyid"), known)
    except (OSError, *MALFORMED, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no public key: 'maas-converter keys create' makes .pub files ({error})") from None


def public_bytes(key: Key) -> bytes:
    """What a ``.pub`` file holds: the key as TUF metadata have it, with its id."""
    return msgspec.json.format(msgspec.json.encode({"keyid": key.keyid, **key.to_dict()}), indent=2) + b"\n"
