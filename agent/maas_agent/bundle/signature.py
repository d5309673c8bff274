"""The signature inside a ``.maas`` file: the repository's targets keys over the manifest's exact bytes.

It lets a device that trusts the repository's root check a file that came by USB stick instead of by HTTP. The
signed bytes begin with a context string so that no signature made here can pass for one over TUF metadata.
"""

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.errors import BundleError

_CONTEXT = b"maas-edge bundle v1\n"


class KeySignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key's signature; ``keyid`` as in TUF metadata, ``sig`` in hex."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``signature.json``."""

    signatures: tuple[KeySignature, ...]


def signed_bytes(manifest_bytes: bytes) -> bytes:
    """What a key signs for a manifest."""
    return _CONTEXT + manifest_bytes


def decode_envelope(data: bytes) -> Envelope:
    """Read ``signature.json``; raise `BundleError` if it is none."""
    try:
        return msgspec.json.decode(data, type=Envelope)
    except MALFORMED as error:
        raise BundleError(f"signature.json is not valid: {error}") from None
