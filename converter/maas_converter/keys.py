"""The publisher's keys: one Ed25519 key for each TUF role, as PEM files that only their owner can read.

``targets.pem`` says what is published and signs bundles; ``root.pem`` says which keys count and belongs off-line;
``snapshot.pem`` and ``timestamp.pem`` say what is newest, and may lie where ``repo refresh`` runs by itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from maas_agent.bundle.signature import Envelope, KeySignature, signed_bytes
from maas_agent.errors import DataError, NoInputError, UnavailableError
from maas_agent.files import write_durably

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # it has no __all__

ROLES = ("root", "targets", "snapshot", "timestamp")


def create_keys(folder: Path) -> dict[str, str]:
    """Make ``<role>.pem`` for every role; return the key id of each role.

    The folder gets mode 0700, the files 0600, unencrypted PKCS #8. Raises `DataError` if there are keys already: they
    may be the only ones that devices in the field trust. If it fails, no key is left behind.
    """
    present = [path.name for path in (_file(folder, role) for role in ROLES) if path.exists()]
    if present:
        raise DataError(f"{folder} already holds {', '.join(present)}: name another folder, keys are never overwritten")
    made = {role: _generated() for role in ROLES}
    _write_all(folder, {role: signer.private_bytes for role, signer in made.items()})
    return {role: signer.public_key.keyid for role, signer in made.items()}


def load_signer(folder: Path, role: str) -> "CryptoSigner":
    """The key of ``role``; raises `NoInputError` if it is not there, `DataError` if it is no such key."""
    path = _file(folder, role)
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise NoInputError(f"cannot read the {role} key {path}: {error.strerror}") from None
    signer_class = _crypto_signer()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DataError(f"{path} is no key: 'maas-converter keys create' makes unencrypted PKCS #8 PEM files") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{path} is no Ed25519 key")
    return signer_class(key)


def sign_manifest(folder: Path, manifest_bytes: bytes) -> bytes:
    """Sign a manifest with the targets key; return what goes into the bundle as ``signature.json``."""
    signature = load_signer(folder, "targets").sign(signed_bytes(manifest_bytes))
    return msgspec.json.encode(Envelope((KeySignature(signature.keyid, signature.signature),)))


def _write_all(folder: Path, keys: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not any(folder.iterdir()):
            # Only of a folder that is ours: someone may name one that others have to read.
            folder.chmod(0o700)
        for role, pem in keys.items():
            write_durably(_file(folder, role), pem, mode=0o600)
    except OSError as error:
        for role in keys:
            _file(folder, role).unlink(missing_ok=True)
        raise DataError(f"cannot write keys to {folder}: {error.strerror}") from None


def _file(folder: Path, role: str) -> Path:
    return folder / f"{role}.pem"


def _generated() -> "CryptoSigner":
    return _crypto_signer().generate_ed25519()


def _crypto_signer() -> "type[CryptoSigner]":
    try:
        import cryptography  # noqa: F401 - asked for here, to answer in a sentence
        from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
    except ImportError:
        raise UnavailableError("signing needs the converter: pip install 'maas-edge[converter]'") from None
    return CryptoSigner
