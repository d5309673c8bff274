"""Checks that the repository's publisher signed a local ``.maas`` file, such as one from a USB stick.

The keys are those of the targets role in the newest root this device has, or of a role that it delegates the model to,
as many of them as that role's threshold says. All of it was verified by TUF's client before; it is verified again here
on its way from the disk. Expiry is not looked at: the device may be offline for good. Without the ``cryptography``
package securesystemslib verifies Ed25519 in pure Python, some milliseconds slower.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]

from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.signature import Envelope, decode_envelope, signed_bytes
from maas_agent.errors import BundleError, ConfigError, VerifyError
from maas_agent.update.choose import Offer
from maas_agent.update.repository import high_water_marks as rules
from maas_agent.update.repository.catalogue import catalogue
from maas_agent.update.repository.high_water_marks import HighWaterMark
from maas_agent.update.repository.tuf_client import mark_keys, sound, speakers


def read_root(path: Path) -> bytes:
    """The trusted root metadata that a person put on the device; raises `ConfigError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the trusted root {path}: {error.strerror}; copy metadata/root.json of the repository there"
        ) from None


class OfflineTrust:
    """Knows what is trusted without asking the repository: ``root`` (bytes), and what it last saw, in ``store``.

    Raises `ConfigError` if ``root`` is no root metadata, `VerifyError` if the files in the store are older than what
    the device has seen.
    """

    def __init__(self, root: bytes, store: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self._root = _newest_root(_given_root(root), store / "tuf")
        self._loaded = dict(_cached_targets(self._root, store / "tuf"))
        seen = {
            role: HighWaterMark(said.version, mark_keys(role, self._root, self._loaded))
            for role, said in self._loaded.items()
        }
        try:
            rules.raised(rules.load(store, digest_of(root), warn), self._root.version, None, seen)
        except OSError as error:
            raise ConfigError(f"cannot read what {store} remembers of the repository: {error.strerror}") from None

    def verify(self, offer: Offer, manifest_bytes: bytes, signature: bytes | None) -> None:
        """Raise `VerifyError` unless enough keys of a role that may offer this bundle signed its manifest.

        ``signature`` is the content of ``signature.json``.
        """
        if signature is None:
            raise VerifyError("the bundle is not signed: sign it, or set allow_unsigned = true for this pipeline")
        try:
            envelope = decode_envelope(signature)
        except BundleError as error:
            raise VerifyError(str(error)) from None
        data = signed_bytes(manifest_bytes)
        counts = [(len(_good(keys, envelope, data)), least) for keys, least in self._authorities(offer)]
        if not any(good >= least for good, least in counts):
            good, least = counts[0]
            raise VerifyError(
                f"the bundle's signature is not the repository's: {good} of the {least} keys it takes have signed"
            )
        self._refuse_revoked(offer)

    def _refuse_revoked(self, offer: Offer) -> None:
        gone = catalogue(self._loaded).revoked_of(offer.name)
        if offer.version in gone:
            raise VerifyError(f"{offer.name} {offer.version} is revoked: {gone[offer.version]}")

    def _authorities(self, offer: Offer) -> Iterator[tuple[dict[str, Any], int]]:
        """For each role that may offer this bundle its keys, and how many of them it takes; the targets role first."""
        yield _keys(self._root, "targets")
        for role in speakers(self._loaded, f"{offer.name}/{offer.version}/manifest.json"):
            for parent in self._loaded.values():
                if parent.delegations and role in (parent.delegations.roles or {}):
                    yield _keys(parent, role)


def _keys(delegator: Root | Targets, role: str) -> tuple[dict[str, Any], int]:
    trusted = delegator.get_delegated_role(role)
    keys = (
        delegator.keys if isinstance(delegator, Root) else delegator.delegations.keys if delegator.delegations else {}
    )
    return {keyid: keys[keyid] for keyid in trusted.keyids if keyid in keys}, trusted.threshold


def _good(keys: dict[str, Any], envelope: Envelope, data: bytes) -> set[str]:
    """The ids of the keys that signed ``data``; one that signed twice counts once."""
    good = set()
    for made in envelope.signatures:
        try:
            if made.keyid in keys:
                keys[made.keyid].verify_signature(Signature(made.keyid, made.sig), data)
                good.add(made.keyid)
        except UnverifiedSignatureError:
            continue
    return good


def _given_root(data: bytes) -> Root:
    try:
        signed = Metadata[Root].from_bytes(data).signed
    except RepositoryError as error:
        raise ConfigError(f"the trusted root is no root metadata: {error}") from None
    if not isinstance(signed, Root):
        raise ConfigError(f"the trusted root is {signed.type} metadata, not root metadata")
    try:
        return sound(signed)
    except RepositoryError as error:
        raise ConfigError(f"the trusted root is no root metadata: {error}") from None


def _newest_root(root: Root, folder: Path) -> Root:
    """The last of the roots in ``folder`` that follow ``root``, each signed by the one before and by itself."""
    while (following := _following(root, folder)) is not None:
        root = following
    return root


def _following(root: Root, folder: Path) -> Root | None:
    number = root.version + 1
    try:
        data = Metadata[Root].from_bytes((folder / "root_history" / f"{number}.root.json").read_bytes())
        for delegator in (root, data.signed) if isinstance(data.signed, Root) else ():
            delegator.verify_delegate("root", data.signed_bytes, data.signatures)
        sound(data.signed)
    except (OSError, RepositoryError):
        return None
    return data.signed if isinstance(data.signed, Root) and data.signed.version == number else None


def _cached_targets(root: Root, folder: Path) -> Iterator[tuple[str, Targets]]:
    """The targets metadata in ``folder``, top and delegated, each verified by the role above it."""
    waiting: list[tuple[str, Root | Targets]] = [("targets", root)]
    seen = set[str]()
    while waiting:
        role, delegator = waiting.pop()
        try:
            data = Metadata[Targets].from_bytes((folder / f"{quote(role, '')}.json").read_bytes())
            delegator.verify_delegate(role, data.signed_bytes, data.signatures)
            sound(data.signed)
        except (OSError, RepositoryError):
            continue
        if role not in seen and isinstance(data.signed, Targets):
            seen.add(role)
            yield role, data.signed
            delegations = data.signed.delegations
            waiting += [(child, data.signed) for child in reversed((delegations.roles if delegations else None) or {})]
