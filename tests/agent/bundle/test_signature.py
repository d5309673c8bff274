"""The content of ``signature.json``; what one is worth: tests/agent/update/repository/test_file_signature.py."""

import msgspec
import pytest

from maas_agent.bundle.signature import Envelope, KeySignature, decode_envelope, signed_bytes
from maas_agent.errors import BundleError


def test_an_envelope_is_read() -> None:
    envelope = Envelope((KeySignature("id", "00ff"), KeySignature("other", "")))
    assert decode_envelope(msgspec.json.encode(envelope)) == envelope


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"signatures": 1}', b'{"signatures": [], "x": 1}', b'{"signatures": [{}]}']
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"signature\.json is not valid"):
        decode_envelope(data)


def test_signed_bytes_hold_the_whole_manifest_and_are_no_json() -> None:
    """TUF signs JSON: no signature made here can pass for one over TUF metadata."""
    manifest = b'{"signed": {}}'
    assert signed_bytes(manifest).endswith(manifest)
    assert not signed_bytes(manifest).lstrip().startswith(b"{")
    assert signed_bytes(manifest) != signed_bytes(manifest + b" ")
