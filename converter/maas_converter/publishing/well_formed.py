"""Whether metadata say what a publisher of bundles says, and by what names: their files lie where anybody may write.

python-tuf does not look at all fields; and what is read here is built upon, shown, and becomes the names of files.
"""

from typing import Any

import msgspec

from maas_agent.bundle.manifest import NAME, Sha256
from maas_converter.publishing.state import TOP


class _Role(msgspec.Struct):
    keyids: tuple[str, ...]
    threshold: int


class _Delegated(_Role, kw_only=True):
    name: str
    paths: tuple[str, ...] = ()


class _Delegations(msgspec.Struct):
    roles: tuple[_Delegated, ...] = ()


class _Hashes(msgspec.Struct):
    sha256: Sha256


class _File(msgspec.Struct):
    length: int
    hashes: _Hashes


class _Said(msgspec.Struct):
    """What is read of a root and of targets."""

    roles: dict[str, _Role] = {}
    targets: dict[str, _File] = {}
    delegations: _Delegations | None = None
    channels: dict[str, dict[str, str]] = {}
    revoked: dict[str, dict[str, str]] = {}


def refuse_malformed(signed: Any) -> None:
    """Raise ``ValueError`` with the reason unless all of ``signed`` has the types and the names that it should have."""
    found = msgspec.convert(signed.to_dict(), _Said)
    for role in found.delegations.roles if found.delegations is not None else ():
        refuse_role(role.name)
        if role.name in TOP:
            raise ValueError(f"it delegates to {role.name}, which is a role of TUF's own")
    for path in found.targets:
        # It becomes the name of a file: NAME/VERSION/manifest.json, and delivery.json beside it.
        if len(parts := path.split("/")) != 3 or not all(parts) or {".", ".."} & set(parts) or "\0" in path:
            raise ValueError(f"{path!r} is no path of a bundle")


def refuse_role(name: str) -> None:
    """Raise ``ValueError`` if ``name`` is none of a role: it becomes a part of the names of files."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a role")
