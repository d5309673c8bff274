"""Signatures inside ``.maas`` files, checked against the root's targets keys."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]

from maas_agent.bundle.signature import Envelope, decode_envelope
from maas_agent.errors import ConfigError, VerifyError
from maas_agent.update.choose import Offer
from maas_agent.update.repository.file_signature import OfflineTrust
from maas_converter.publishing.keys.key_files import create_keys, load_signer, sign_manifest

MANIFEST = b'{"any": "bytes"}'
OFFER = Offer("digits", "1.0.0", "0" * 64, len(MANIFEST))


def verify_signature(root: bytes, manifest: bytes, signature: bytes) -> None:
    """On a device that has never asked the repository."""
    OfflineTrust(root, Path("/nonexistent")).verify(OFFER, manifest, signature)


@pytest.fixture
def root(repository: Path) -> bytes:
    return (repository / "metadata" / "root.json").read_bytes()


def test_the_publishers_signature_is_accepted_and_only_for_these_bytes(root: bytes, keys: Path) -> None:
    """One bit more and it is another manifest."""
    signature = sign_manifest(keys, MANIFEST)
    verify_signature(root, MANIFEST, signature)
    with pytest.raises(VerifyError, match="0 of the 1 keys"):
        verify_signature(root, MANIFEST + b" ", signature)


def test_a_threshold_of_two_takes_two_different_keys(repository: Path, keys: Path, tmp_path: Path) -> None:
    """The same key twice is one key."""
    create_keys(tmp_path / "second")
    metadata = Metadata[Root].from_file(str(repository / "metadata" / "root.json"))
    metadata.signed.add_key(load_signer(tmp_path / "second", "targets").public_key, "targets")
    metadata.signed.roles["targets"].threshold = 2
    root = metadata.to_bytes()
    first, second = (decode_envelope(sign_manifest(folder, MANIFEST)) for folder in (keys, tmp_path / "second"))
    with pytest.raises(VerifyError, match="1 of the 2 keys"):
        verify_signature(root, MANIFEST, msgspec.json.encode(Envelope(first.signatures * 2)))
    verify_signature(root, MANIFEST, msgspec.json.encode(Envelope(first.signatures + second.signatures)))


@pytest.mark.parametrize("role", ["root", "snapshot", "timestamp"])
def test_a_key_of_another_role_does_not_sign_bundles(root: bytes, keys: Path, tmp_path: Path, role: str) -> None:
    """The keys that lie on a server for ``repo refresh`` cannot publish."""
    (tmp_path / "targets.pem").write_bytes((keys / f"{role}.pem").read_bytes())
    with pytest.raises(VerifyError, match="0 of the 1 keys"):
        verify_signature(root, MANIFEST, sign_manifest(tmp_path, MANIFEST))


@pytest.mark.parametrize("signature", [b"", b"{}", b'{"signatures": [{"keyid": "x", "sig": 7}]}'])
def test_a_signature_that_is_none_is_refused(root: bytes, signature: bytes) -> None:
    """Damaged, or of another program."""
    with pytest.raises(VerifyError, match=r"signature\.json is not valid"):
        verify_signature(root, MANIFEST, signature)


def test_a_signature_of_no_hex_digits_is_refused(root: bytes, keys: Path) -> None:
    """The right key id, and then nonsense."""
    envelope = decode_envelope(sign_manifest(keys, MANIFEST))
    nonsense = msgspec.structs.replace(envelope.signatures[0], sig="zz")
    with pytest.raises(VerifyError, match="0 of the 1 keys"):
        verify_signature(root, MANIFEST, msgspec.json.encode(Envelope((nonsense,))))


def test_a_root_of_another_role_is_a_configuration_error(repository: Path, keys: Path) -> None:
    """Somebody copied timestamp.json."""
    timestamp = (repository / "metadata" / "timestamp.json").read_bytes()
    with pytest.raises(ConfigError, match="is timestamp metadata, not root metadata"):
        verify_signature(timestamp, MANIFEST, sign_manifest(keys, MANIFEST))


def test_it_works_without_the_cryptography_package(repository: Path, keys: Path, tmp_path: Path) -> None:
    """A 32-bit device has no wheel of it; the pure-Python fallback says yes and no as well."""
    (tmp_path / "signature.json").write_bytes(sign_manifest(keys, MANIFEST))
    program = f"""
import sys, time
sys.modules["cryptography"] = None
from pathlib import Path
from maas_agent.errors import VerifyError
from maas_agent.update.choose import Offer
from maas_agent.update.repository.file_signature import OfflineTrust
trusted = OfflineTrust(Path({str(repository / "metadata" / "root.json")!r}).read_bytes(), Path("/nonexistent"))
offer = Offer("digits", "1.0.0", "0" * 64, 1)
signature = Path({str(tmp_path / "signature.json")!r}).read_bytes()
trusted.verify(offer, {MANIFEST!r}, signature)
try:
    trusted.verify(offer, {MANIFEST + b" "!r}, signature)
except VerifyError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "the bundle's signature is not the repository's: 0 of the 1 keys it takes have signed\n"
