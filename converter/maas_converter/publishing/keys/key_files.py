"""The publisher's keys: one Ed25519 key for each TUF role, as PEM files that only their owner can read.

``targets.pem`` says what is published and signs bundles; ``root.pem`` says which keys count and belongs off-line;
``snapshot.pem`` and ``timestamp.pem`` say what is newest, and may lie where ``repo refresh`` runs by itself. Beside
each lies the public half, ``.pub``, for those who are to trust it.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from maas_agent.bundle.manifest import NAME, digest_of
from maas_agent.bundle.signature import Envelope, KeySignature, signed_bytes
from maas_agent.errors import DataError, UnavailableError, UsageError
from maas_agent.host.files import write_durably

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # it has no __all__

ROLES = ("root", "targets", "snapshot", "timestamp")
CONTENT = "content"
"""No role of TUF: the key of sealed versions, X25519."""


class _New(msgspec.Struct, frozen=True):
    """A key that was just made: its id, and the content of its two files."""

    id: str
    private: bytes
    public: bytes


def create_keys(
    folder: Path, passphrase: bytes | None = None, roles: Sequence[str] = ROLES, name: str | None = None
) -> dict[str, str]:
    """Make ``<role>.pem`` (or ``<role>@<name>.pem``) for every role; return the key id of each role.

    The folder gets mode 0700, the files 0600, PKCS #8, encrypted if there is a ``passphrase``. Raises `DataError` if
    there are such keys already: they may be the only ones that devices in the field trust. If it fails, no key is left
    behind.
    """
    for each in (*roles, *([name] if name is not None else [])):
        if not NAME.fullmatch(each):
            raise UsageError(f"{each!r}: use lower-case letters, digits, '.', '_' and '-'")
    stems = {role: f"{role}@{name}" if name is not None else role for role in roles}
    present = [f"{stem}.pem" for stem in stems.values() if (folder / f"{stem}.pem").exists()]
    if present:
        raise DataError(f"{folder} already holds {', '.join(present)}: name another folder, keys are never overwritten")
    made = {role: _content(passphrase) if role == CONTENT else _signing(passphrase) for role in roles}
    _write_all(
        folder,
        {f"{stems[role]}.pem": new.private for role, new in made.items()},
        {f"{stems[role]}.pub": new.public for role, new in made.items()},
    )
    return {role: new.id for role, new in made.items()}


def load_signer(folder: Path, role: str) -> "CryptoSigner":
    """The key of ``role``; raises `NoInputError` if it is not there, `DataError` if it is no such key."""
    signer_class = _crypto_signer()
    from maas_converter.publishing.keys.key_ring import read_private

    return signer_class(read_private(folder / f"{role}.pem"))


def sign_manifest(folder: Path, manifest_bytes: bytes, role: str = "targets") -> bytes:
    """Sign a manifest with the key of ``role``; return what goes into the bundle as ``signature.json``."""
    signature = load_signer(folder, role).sign(signed_bytes(manifest_bytes))
    return msgspec.json.encode(Envelope((KeySignature(signature.keyid, signature.signature),)))


def _write_all(folder: Path, private: dict[str, bytes], public: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not any(folder.iterdir()):
            # Only of a folder that is ours: someone may name one that others have to read.
            folder.chmod(0o700)
        for name, pem in private.items():
            write_durably(folder / name, pem, mode=0o600)
        for name, data in public.items():
            write_durably(folder / name, data)
    except OSError as error:
        for name in (*private, *public):
            (folder / name).unlink(missing_ok=True)
        raise DataError(f"cannot write keys to {folder}: {error.strerror}") from None


def _signing(passphrase: bytes | None) -> _New:
    from maas_converter.publishing.keys.key_ring import public_bytes

    signer = _generated()
    return _New(signer.public_key.keyid, _kept(signer.private_bytes, passphrase), public_bytes(signer.public_key))


def _content(passphrase: bytes | None) -> _New:
    """The key by which its publisher can open what he seals, and seal it for others."""
    _crypto_signer()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = X25519PrivateKey.generate()
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes_raw()
    line = f"maas-device {CONTENT} {base64.b64encode(public).decode()}\n"
    return _New(digest_of(public), _kept(plain, passphrase), line.encode())


def _kept(pem: bytes, passphrase: bytes | None) -> bytes:
    if passphrase is None:
        return pem
    from maas_converter.publishing.keys.encryption import encrypted

    return encrypted(pem, passphrase)


def _generated() -> "CryptoSigner":
    return _crypto_signer().generate_ed25519()


def _crypto_signer() -> "type[CryptoSigner]":
    try:
        import cryptography  # noqa: F401 - asked for here, to answer in a sentence
        from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
    except ImportError:
        raise UnavailableError("signing needs the converter: pip install 'maas-edge[converter]'") from None
    return CryptoSigner
