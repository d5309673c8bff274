"""Whether a local ``.maas`` file was signed by the repository's publisher: for bundles that come by USB stick.

The keys are those of the targets role in the trusted root metadata, as many of them as its threshold says. Expiry
is not looked at: the device may be offline for good. Without the ``cryptography`` package securesystemslib verifies
Ed25519 in pure Python, some milliseconds slower.
"""

from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]

from maas_agent.bundle.signature import Envelope, decode_envelope, signed_bytes
from maas_agent.errors import BundleError, ConfigError, VerifyError


def read_root(path: Path) -> bytes:
    """The trusted root metadata that a person put on the device; raises `ConfigError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the trusted root {path}: {error.strerror}; copy metadata/root.json of the repository there"
        ) from None


def verify_signature(root: bytes, manifest_bytes: bytes, signature: bytes | None) -> None:
    """Raise `VerifyError` unless enough targets keys of ``root`` signed the manifest.

    ``signature`` is the content of ``signature.json``. Raises `ConfigError` if ``root`` is no root metadata.
    """
    if signature is None:
        raise VerifyError("the bundle is not signed: sign it, or set allow_unsigned = true for this pipeline")
    try:
        envelope = decode_envelope(signature)
    except BundleError as error:
        raise VerifyError(str(error)) from None
    trusted = _trusted(root)
    good, threshold = _good_keys(trusted, envelope, signed_bytes(manifest_bytes)), trusted.roles["targets"].threshold
    if len(good) < threshold:
        raise VerifyError(
            f"the bundle's signature is not the repository's: {len(good)} of the {threshold} keys it takes have signed"
        )


def _trusted(root: bytes) -> Root:
    try:
        signed = Metadata[Root].from_bytes(root).signed
    except RepositoryError as error:
        raise ConfigError(f"the trusted root is no root metadata: {error}") from None
    if not isinstance(signed, Root):
        raise ConfigError(f"the trusted root is {signed.type} metadata, not root metadata")
    return signed


def _good_keys(root: Root, envelope: Envelope, data: bytes) -> set[str]:
    """The ids of the targets keys that signed ``data``; one that signed twice counts once."""
    good = set()
    for made in envelope.signatures:
        if made.keyid not in root.roles["targets"].keyids:
            continue
        try:
            root.keys[made.keyid].verify_signature(Signature(made.keyid, made.sig), data)
            good.add(made.keyid)
        except UnverifiedSignatureError:
            continue
    return good
