"""What a confined conversion has signed by its parent, which runs no model and has the keys."""

from pathlib import Path

from maas_agent.bundle.manifest import decode_manifest
from maas_agent.errors import DataError
from maas_converter.base.outlet import Promise
from maas_converter.publishing.keys import passphrase
from maas_converter.publishing.keys.key_files import load_signer, sign_manifest


def check_signer(promised: Promise, content: bytes) -> bytes:
    """Raise what `load_signer` raises, before minutes are spent; a passphrase is asked for now."""
    _use_passphrase(promised)
    load_signer(Path(promised.keys), "targets")
    return b""


def sign(promised: Promise, manifest_bytes: bytes) -> bytes:
    """Sign the manifest of the bundle that was asked for; raises `DataError` for another one."""
    manifest = decode_manifest(manifest_bytes)
    if not promised.keys or (manifest.name, manifest.version) != (promised.name, promised.version):
        raise DataError(
            f"a manifest of {manifest.name} {manifest.version} was to be signed, and {promised.name} "
            f"{promised.version} is converted: the model has taken over what read it; do not use it"
        )
    _use_passphrase(promised)
    return sign_manifest(Path(promised.keys), manifest_bytes)


def _use_passphrase(promised: Promise) -> None:
    passphrase.use(Path(promised.passphrase_file) if promised.passphrase_file else None)
