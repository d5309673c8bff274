"""Delivers bundles, from the repository or from a local ``.maas`` file: each source says what it offers.

TUF costs 150 ms and 25 MB to import; a device that only runs a local file it need not verify does without.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.errors import BundleError, PullError, UpdateError, VerifyError
from maas_agent.update.choose import Catalogue, Offer, choose, refuse_downgrade, refuse_unwanted, why_nothing
from maas_agent.update.downloader import Downloader
from maas_agent.update.protocol import RepositoryAccess, Wanted
from maas_agent.update.store.blob_store import BlobStore
from maas_agent.update.store.disk_quota import DiskQuota, Need
from maas_agent.update.transfer.deadline import deadline
from maas_agent.update.transfer.partial_download import whole

if TYPE_CHECKING:
    from maas_agent.update.repository.client import Offered, Repository


class Source(Protocol):
    """One place a pipeline's bundle can come from."""

    def offer(self, wanted: Wanted, /) -> Offer | str | None:
        """What to install; else why nothing, or ``None`` if the active bundle is the right one. Raises `MaasError`."""
        ...

    def revoked(self, wanted: Wanted, /) -> Mapping[str, str]:
        """The versions of the wanted model that its publisher has revoked, with the reasons."""
        ...

    def deliver(self, offer: Offer, wanted: Wanted, store: BlobStore, room: DiskQuota, /) -> None:
        """Bring the offered manifest and all its blobs into ``store``. Raises `MaasError`."""
        ...

    def renew(self, wanted: Wanted, store: BlobStore, /) -> None:
        """Bring up to date what belongs to a bundle that is active already. Raises `MaasError`."""
        ...

    def reached(self, wanted: Wanted, /) -> bool:
        """Whether it is known what is offered of the wanted model, be it nothing."""
        ...

    def mend(self, digest: str, wanted: Wanted, store: BlobStore, room: DiskQuota, /) -> None:
        """Bring what is missing or damaged of a bundle that was installed already. Raises `MaasError`."""
        ...


class FromRepository:
    """The repository, once it was refreshed; see `Source`."""

    def __init__(self, repository: "Repository", offered: "Offered", timeout_s: float) -> None:
        self._repository = repository
        self._offered = offered
        self._timeout_s = timeout_s

    def offer(self, wanted: Wanted) -> Offer | str | None:
        """See `Source`."""
        catalogue = self._catalogue(wanted)
        return choose(catalogue, wanted) or why_nothing(catalogue, wanted)

    def revoked(self, wanted: Wanted) -> Mapping[str, str]:
        """See `Source`."""
        found = self._offered.get(str(wanted.model))
        return found.revoked_of(wanted.model) if isinstance(found, Catalogue) else {}

    def deliver(self, offer: Offer, wanted: Wanted, store: BlobStore, room: DiskQuota) -> None:
        """See `Source`."""
        with deadline(self._timeout_s, f"the download of {offer.name} {offer.version}"):
            Downloader(self._repository, offer, store, wanted.device_key).bring(room)

    def renew(self, wanted: Wanted, store: BlobStore) -> None:
        """See `Source`: its delivery may have other recipients by now."""
        for offer in self._catalogue(wanted).of(wanted.model):
            held = store.deliveries.digest(offer.digest)
            is_here = offer.digest in (wanted.active_digest, wanted.previous_digest)
            if is_here and offer.delivery is not None and offer.delivery.digest != held:
                with deadline(self._timeout_s, f"the renewal of {offer.name} {offer.version}"):
                    Downloader(self._repository, offer, store, wanted.device_key).renew()

    def reached(self, wanted: Wanted) -> bool:
        """See `Source`."""
        return isinstance(self._offered.get(str(wanted.model)), Catalogue)

    def mend(self, digest: str, wanted: Wanted, store: BlobStore, room: DiskQuota) -> None:
        """See `Source`: what its publisher has revoked is not brought again."""
        offer = next((offer for offer in self._catalogue(wanted).of(wanted.model) if offer.digest == digest), None)
        if offer is None:
            raise PullError("the repository does not offer it")
        store.drop_damaged(digest)
        self.deliver(offer, wanted, store, room)

    def _catalogue(self, wanted: Wanted) -> Catalogue:
        found = self._offered[str(wanted.model)]
        if isinstance(found, UpdateError):
            raise found
        return found


class FromFile:
    """A ``.maas`` file on the device; see `Source`. ``store`` is the folder with what was seen of the repository."""

    def __init__(self, path: Path, access: RepositoryAccess | None, store: Path) -> None:
        self._path = path
        self._access = access
        self._store = store

    def offer(self, wanted: Wanted) -> Offer | str | None:
        """See `Source`. A signature is judged anew each time: the configuration or the root may have changed."""
        offer = self._verified(wanted)
        if offer.digest == wanted.active_digest:
            return None
        refuse_unwanted(offer, wanted)
        if offer.digest in wanted.refused:
            return f"{offer.version} is set aside: {wanted.refused[offer.digest]}"
        refuse_downgrade(offer.version, wanted.active_version)
        return offer

    def revoked(self, _wanted: Wanted) -> Mapping[str, str]:
        """See `Source`: a file that is revoked is refused, and says no more."""
        return {}

    def deliver(self, offer: Offer, _wanted: Wanted, store: BlobStore, room: DiskQuota) -> None:
        """See `Source`."""
        with _opened(self._path) as bundle:
            if bundle.digest != offer.digest:
                raise VerifyError(f"{self._path} was replaced while it was being installed")
            files = {offer.digest: offer.length} | bundle.manifest.blobs()
            missing = {digest: size for digest, size in files.items() if not store.has(digest, size)}
            room.make(store, f"{offer.name} {offer.version}", offer.digest, Need(sum(missing.values())))
            for digest, size in missing.items():
                data = bundle.manifest_bytes if digest == offer.digest else bundle.blob(digest)
                store.add(digest, size, whole([data]))
            store.deliveries.keep(offer.digest, None)

    def renew(self, _wanted: Wanted, _store: BlobStore) -> None:
        """See `Source`: a file holds its blobs as they are."""

    def reached(self, _wanted: Wanted) -> bool:
        """See `Source`: a file that is not taken says nothing."""
        return False

    def mend(self, digest: str, wanted: Wanted, store: BlobStore, room: DiskQuota) -> None:
        """See `Source`."""
        offer = self._verified(wanted)
        if offer.digest != digest:
            raise PullError(f"{self._path} holds {offer.name} {offer.version}, another bundle")
        store.drop_damaged(digest)
        self.deliver(offer, wanted, store, room)

    def _verified(self, wanted: Wanted) -> Offer:
        with _opened(self._path) as bundle:
            manifest = bundle.manifest
            offer = Offer(manifest.name, manifest.version, bundle.digest, len(bundle.manifest_bytes))
            self._refuse_unsigned(bundle, offer, wanted)
        return offer

    def _refuse_unsigned(self, bundle: Bundle, offer: Offer, wanted: Wanted) -> None:
        if wanted.allow_unsigned:
            return
        if self._access is None:
            raise VerifyError(
                f"{self._path} cannot be verified without a [repository] root: name one, or set allow_unsigned = true"
            )
        from maas_agent.update.repository.file_signature import OfflineTrust, read_root

        trusted = OfflineTrust(read_root(Path(self._access.root)), self._store)
        trusted.verify(offer, bundle.manifest_bytes, bundle.signature())


class Unavailable:
    """The repository when it could not be refreshed: whoever needs it gets the reason; see `Source`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def offer(self, _wanted: Wanted) -> Offer | str | None:
        """Raise the error."""
        raise self._error

    def revoked(self, _wanted: Wanted) -> Mapping[str, str]:
        """Nothing is known."""
        return {}

    def deliver(self, _offer: Offer, _wanted: Wanted, _store: BlobStore, _room: DiskQuota) -> None:
        """Raise the error."""
        raise self._error

    def renew(self, _wanted: Wanted, _store: BlobStore) -> None:
        """Raise the error."""
        raise self._error

    def reached(self, _wanted: Wanted) -> bool:
        """It is not."""
        return False

    def mend(self, _digest: str, _wanted: Wanted, _store: BlobStore, _room: DiskQuota) -> None:
        """Raise the error."""
        raise self._error


@contextmanager
def _opened(path: Path) -> Iterator[Bundle]:
    try:
        with open_bundle(path) as bundle:
            yield bundle
    except BundleError as error:
        raise VerifyError(str(error)) from None
