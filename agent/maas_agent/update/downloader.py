"""Brings an offered bundle from the repository into the store, whichever way its blobs are stored there.

Sealed blobs stay as they are stored; compressed ones are expanded, no further than the signed manifest says.
"""

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maas_agent.bundle.delivery import DeliveredBlob, Delivery, decode_delivery, expanded
from maas_agent.bundle.manifest import Manifest, decode_manifest
from maas_agent.errors import BundleError, PullError, VerifyError
from maas_agent.update.choose import Offer
from maas_agent.update.store.blob_store import BlobStore
from maas_agent.update.store.deliveries import kept
from maas_agent.update.store.disk_quota import DiskQuota, Need
from maas_agent.update.store.recipient_check import why_unreadable
from maas_agent.update.transfer.partial_download import PartialDownload, WrongContent, whole

if TYPE_CHECKING:
    from maas_agent.update.repository.client import Repository

_CHUNK = 1 << 16


class Downloader:
    """Brings one bundle from ``repository`` into ``store``; ``key`` is the file of this device's key."""

    def __init__(self, repository: "Repository", offer: Offer, store: BlobStore, key: str | None) -> None:
        self._repository, self._offer, self._store, self._key = repository, offer, store, key
        self._what = f"{offer.name} {offer.version}"

    def bring(self, room: DiskQuota) -> None:
        """Fetch what is not here yet; what arrived before a cut is not fetched again. Raises `MaasError`."""
        offer, store = self._offer, self._store
        # (1) the manifest must be what the signed path says, before anything is fetched on its behalf.
        if not store.has(offer.digest, offer.length):
            store.add(offer.digest, offer.length, lambda start: self._repository.manifest(offer, start))
        manifest = read_manifest(store, offer)
        # (2) what this device could not open, or has no room for, is not fetched.
        document = self._document()
        delivery = self._readable(document, manifest)
        missing = self._missing(manifest, delivery)
        room.make(store, self._what, offer.digest, self._need(missing, delivery))
        # (3) with the document here a cut loses nothing: garbage collection knows what belongs to the bundle. But where
        # another pipeline serves it, what its document names must be here, always.
        if offer.digest not in room.keep:
            store.deliveries.keep(offer.digest, document)
        for digest, size in missing.items():
            self._fetch(digest, size, delivery)
        store.deliveries.keep(offer.digest, document)

    def renew(self) -> None:
        """Take over another delivery document of a bundle that is here, and what it names anew. Raises `MaasError`."""
        manifest = read_manifest(self._store, self._offer)
        document = self._document()
        delivery = self._readable(document, manifest)
        # The bundle may be served while this goes on: what the old document names stays until all is here.
        for digest, size in self._missing(manifest, delivery).items():
            self._fetch(digest, size, delivery)
        self._store.deliveries.keep(self._offer.digest, document)

    def _document(self) -> bytes | None:
        target = self._offer.delivery
        if target is None:
            return None
        part = self._store.part(target.digest, target.length)
        try:
            return part.complete(lambda _start: self._repository.delivery(self._offer)).read_bytes()
        finally:
            part.drop()

    def _readable(self, document: bytes | None, manifest: Manifest) -> Delivery | None:
        if document is None:
            return None
        try:
            delivery = decode_delivery(document)
        except BundleError as error:
            raise VerifyError(f"{self._what}: {error}") from None
        if strange := delivery.blobs.keys() - manifest.blobs().keys():
            raise VerifyError(f"{self._what}: its delivery names blob {min(strange)[:12]}…, its manifest does not")
        reason = why_unreadable(delivery, self._key)
        if reason is not None:
            # Not the bundle's fault: the publisher may add this device, a person may install what is missing.
            raise PullError(f"{self._what} {reason}")
        return delivery

    def _missing(self, manifest: Manifest, delivery: Delivery | None) -> dict[str, int]:
        """Plain digest and size of the blobs that are not here in the form in which they are to be kept."""
        blobs = manifest.blobs()
        return {
            digest: size
            for digest, size in blobs.items()
            if not all(self._store.has(*file) for file in kept({digest: size}, delivery).items())
        }

    def _need(self, missing: dict[str, int], delivery: Delivery | None) -> Need:
        stored = delivery.blobs if delivery else {}
        files = kept(missing, delivery)
        held = sum(self._store.part(*file).held for file in files.items())
        packed = (stored[digest] for digest in missing if digest in stored and not stored[digest].is_sealed)
        return Need(max(0, sum(files.values()) - held), max((blob.size for blob in packed), default=0))

    def _fetch(self, digest: str, size: int, delivery: Delivery | None) -> None:
        stored = delivery.blobs.get(digest) if delivery else None
        if stored is None:
            self._store.add(digest, size, lambda start: self._repository.blob(digest, start))
        elif stored.is_sealed:
            self._store.add(stored.stored, stored.size, lambda start: self._repository.blob(stored.stored, start))
        else:
            self._expand(digest, size, stored)

    def _expand(self, digest: str, size: int, stored: DeliveredBlob) -> None:
        part = self._store.part(stored.stored, stored.size)
        packed = part.complete(lambda start: self._repository.blob(stored.stored, start))
        try:
            self._store.add(digest, size, whole(inflated(packed)))
        except (WrongContent, zlib.error):
            # What was fetched is what was signed, so it is the publisher who is wrong.
            raise VerifyError(
                f"{self._what}: blob {digest[:12]}… does not expand to the {size} bytes that its manifest states"
            ) from None
        finally:
            _drop(part, self._store.part(digest, size))


def read_manifest(store: BlobStore, offer: Offer) -> Manifest:
    """The offered manifest from the store; raises `VerifyError` if it is unreadable or of another name or version.

    Its digest is signed under a path that states name and version. A manifest that says something else would get
    round the rules that chose that path.
    """
    try:
        manifest = decode_manifest(store.read(offer.digest))
    except BundleError as error:
        raise VerifyError(f"{offer.name} {offer.version}: {error}") from None
    if (manifest.name, manifest.version) != (offer.name, offer.version):
        raise VerifyError(
            f"offered as {offer.name} {offer.version}, but its manifest says {manifest.name} {manifest.version}"
        )
    return manifest


def inflated(packed: Path) -> Iterator[bytes]:
    """The expanded bytes of a zlib file; raises ``zlib.error``."""
    with packed.open("rb") as file:
        yield from expanded(iter(partial(file.read, _CHUNK), b""))


def _drop(*parts: PartialDownload) -> None:
    for part in parts:
        part.drop()
