"""Sealing a version for the devices that may run it, and changing who they are without touching its blobs.

The publisher is always a recipient too, by the key ``content.pem``: only so can somebody be added later.
"""

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

import msgspec
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]

from maas_agent.bundle.delivery import Delivery, decode_delivery, encode_delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.sealed import new_content_key, recipient_id, seal, unwrap, wrap
from maas_agent.errors import BundleError, DataError, NoInputError, UsageError
from maas_converter.publishing import storage
from maas_converter.publishing.folder import locked, put_target, stored_at, target_path
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.pending import refuse_pending
from maas_converter.publishing.reading import load, read_file
from maas_converter.publishing.release import ONLINE, Missing, release
from maas_converter.publishing.storage import StoredBlob

_WORD = "maas-device"
OWNER = "content"


class Recipient(msgspec.Struct, frozen=True):
    """Somebody who may open a version: a device, or a group that shares a key. ``public`` is the raw X25519 key."""

    name: str
    public: bytes

    @property
    def id(self) -> str:
        """The recipient's id: the SHA-256 of the public key."""
        return recipient_id(self.public)


class Recipients(msgspec.Struct, frozen=True):
    """Who may open a version now: ids, and what still waits for signatures."""

    name: str
    version: str
    recipients: tuple[str, ...]
    waits: tuple[Missing, ...] = ()


class Sealing:
    """How one version is sealed: pass it to `maas_converter.publishing.repository.publish`."""

    def __init__(self, recipients: Iterable[Recipient], ring: KeyRing) -> None:
        self._recipients = [_owner(ring), *recipients]
        self._content_key = new_content_key()

    def keep(self, digest: str, data: bytes) -> StoredBlob:
        """Compressed where that pays, then sealed."""
        packed = storage.compressed(data)
        sealed = seal(packed if packed is not None else data, self._content_key, digest)
        return StoredBlob(digest_of(sealed), sealed, "sealed" if packed is None else "sealed-zlib")

    def recipients(self, name: str, version: str) -> dict[str, str]:
        """The content key, wrapped for each of them."""
        return _wrapped(self._content_key, self._recipients, name, version)


def read_recipients(paths: Iterable[Path]) -> list[Recipient]:
    """The lines that ``maas-agent enroll`` printed, of all these files; ``#`` begins a comment.

    Raises `NoInputError` if a file cannot be read, `DataError` for a line that is none, `UsageError` if there is
    nobody.
    """
    found: list[Recipient] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise NoInputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        wanted = [(number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
        found += [_recipient(path, number, words) for number, words in wanted if words]
    if not found:
        raise UsageError("--encrypt-to names nobody: its lines are what 'maas-agent enroll' prints on each device")
    return found


def recipients_of(
    folder: Path, name: str, version: str, ring: KeyRing, add: Iterable[Recipient] = (), remove: Iterable[str] = ()
) -> Recipients:
    """Who may open a version; with ``add`` or ``remove`` (ids, or how they begin) that is changed, and the blobs stay.

    Whoever is removed gets no new copy, but may have kept the content key of this version. Raises `DataError` if the
    version is not sealed, or nobody is meant.
    """
    add, remove = list(add), list(remove)
    with locked(folder):
        state = load(folder)
        role = state.role_of(name)
        targets, path = state.targets[role], target_path(name, version, "delivery")
        delivery = _sealed_delivery(folder, targets.targets.get(path), name, version)
        if not add and not remove:
            return Recipients(name, version, tuple(sorted(delivery.recipients)))
        refuse_pending(folder)
        kept = _without(delivery, remove, _owner(ring).id)
        if add:
            owner = ring.content_key()
            wrapped = delivery.content_key(_owner(ring).id)
            if wrapped is None:
                raise DataError(f"{name} {version} was sealed by another publisher: content.pem is another key")
            kept |= _wrapped(unwrap(wrapped, owner, name, version), add, name, version)
        put_target(folder, targets, path, encode_delivery(msgspec.structs.replace(delivery, recipients=kept)))
        waits = release(folder, state, (role, *ONLINE), ring, f"repo recipients {name} {version}").waits
        return Recipients(name, version, tuple(sorted(kept)), waits)


def _wrapped(content_key: bytes, recipients: Iterable[Recipient], name: str, version: str) -> dict[str, str]:
    return {each.id: wrap(content_key, each.public, name, version) for each in recipients}


def _owner(ring: KeyRing) -> Recipient:
    return Recipient(OWNER, ring.content_public())


def _without(delivery: Delivery, remove: list[str], owner: str) -> dict[str, str]:
    kept = dict(delivery.recipients)
    for beginning in remove:
        meant = [each for each in kept if each.startswith(beginning.lower())]
        if len(meant) != 1 or len(beginning) < 8:
            raise DataError(
                f"--remove {beginning}: {len(meant)} recipients begin so; name one by 8 digits of its id or more"
            )
        if meant[0] == owner:
            raise DataError(
                f"--remove {beginning}: that is the publisher's own key; without it nobody can be added again"
            )
        del kept[meant[0]]
    return kept


def _sealed_delivery(folder: Path, target: TargetFile | None, name: str, version: str) -> Delivery:
    if target is None:
        raise DataError(f"{name} {version} is not sealed, or not published: 'publish --encrypt-to' seals a new version")
    try:
        delivery = decode_delivery(read_file(stored_at(folder, target)))
    except (OSError, ValueError, BundleError) as error:
        raise DataError(f"the repository is damaged, the delivery of {name} {version}: {error}") from None
    if not delivery.is_sealed:
        raise DataError(f"{name} {version} is not sealed: 'publish --encrypt-to' seals a new version")
    return delivery


def _recipient(path: Path, number: int, words: list[str]) -> Recipient:
    try:
        if len(words) < 3 or words[0] != _WORD:
            raise ValueError
        public = base64.b64decode(words[-1], validate=True)
        # Some 32 bytes are a key for which nothing can be sealed (RFC 7748 6.1): said here, not halfway through.
        wrap(bytes(32), public, "", "")
    except (ValueError, binascii.Error):
        raise DataError(f"{path}, line {number}: this is not what 'maas-agent enroll' prints") from None
    return Recipient(" ".join(words[1:-1]), public)  # a device's id may have spaces
