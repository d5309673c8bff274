"""Where a bundle comes from: the repository, or a local ``.maas`` file. Each says what it offers, and delivers it.

TUF costs 150 ms and 25 MB to import; a device that only runs a local file it need not verify does without.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.bundle.manifest import Manifest, decode_manifest
from maas_agent.errors import BundleError, VerifyError
from maas_agent.update.choose import (
    Offer,
    choose,
    refuse_downgrade,
    refuse_unwanted,
    why_nothing,
)
from maas_agent.update.deadline import deadline
from maas_agent.update.protocol import RepositoryAccess, Wanted
from maas_agent.update.store import Store

if TYPE_CHECKING:
    from maas_agent.update.client import Catalogue, Repository


class Source(Protocol):
    """One place a pipeline's bundle can come from."""

    def offer(self, wanted: Wanted, /) -> Offer | str | None:
        """What to install; else why nothing, or ``None`` if the active bundle is the right one. Raises `MaasError`."""
        ...

    def deliver(self, offer: Offer, store: Store, /) -> Manifest:
        """Bring the offered manifest and all its blobs into ``store``. Raises `MaasError`."""
        ...


class FromRepository:
    """The repository, once it was refreshed; see `Source`."""

    def __init__(self, repository: "Repository", catalogue: "Catalogue", timeout_s: float) -> None:
        self._repository = repository
        self._catalogue = catalogue
        self._timeout_s = timeout_s

    def offer(self, wanted: Wanted) -> Offer | str | None:
        """See `Source`."""
        offers, channels = self._catalogue.offers, self._catalogue.channels
        return choose(offers, channels, wanted) or why_nothing(offers, channels, wanted)

    def deliver(self, offer: Offer, store: Store) -> Manifest:
        """Fetch what the store does not have yet; what arrived before a cut is not fetched again."""
        with deadline(self._timeout_s, f"the download of {offer.name} {offer.version}"):
            _take(store, offer.digest, offer.length, self._repository.manifest(offer))
            # (1) the manifest must be what the signed path says, before anything is fetched on its behalf.
            manifest = read_manifest(store, offer)
            # (2) then its blobs; their digests are in the manifest, whose digest is in the signed metadata.
            for digest, size in manifest.blobs().items():
                _take(store, digest, size, self._repository.blob(digest))
        return manifest


class FromFile:
    """A ``.maas`` file on the device; see `Source`."""

    def __init__(self, path: Path, access: RepositoryAccess | None) -> None:
        self._path = path
        self._access = access

    def offer(self, wanted: Wanted) -> Offer | str | None:
        """See `Source`. A signature is judged anew each time: the configuration or the root may have changed."""
        with _opened(self._path) as bundle:
            self._refuse_unsigned(bundle, wanted)
            manifest = bundle.manifest
            offer = Offer(manifest.name, manifest.version, bundle.digest, len(bundle.manifest_bytes))
        if offer.digest == wanted.active_digest:
            return None
        refuse_unwanted(offer, wanted)
        if offer.digest in wanted.refused:
            return f"{offer.version} is set aside: {wanted.refused[offer.digest]}"
        refuse_downgrade(offer.version, wanted.active_version)
        return offer

    def deliver(self, offer: Offer, store: Store) -> Manifest:
        """See `Source`."""
        with _opened(self._path) as bundle:
            if bundle.digest != offer.digest:
                raise VerifyError(f"{self._path} was replaced while it was being installed")
            _take(store, offer.digest, offer.length, iter([bundle.manifest_bytes]))
            for digest, size in bundle.manifest.blobs().items():
                _take(store, digest, size, (bundle.blob(name) for name in [digest]))
            return bundle.manifest

    def _refuse_unsigned(self, bundle: Bundle, wanted: Wanted) -> None:
        if wanted.allow_unsigned:
            return
        if self._access is None:
            raise VerifyError(
                f"{self._path} cannot be verified without a [repository] root: name one, or set allow_unsigned = true"
            )
        from maas_agent.update.trust import read_root, verify_signature

        verify_signature(read_root(Path(self._access.root)), bundle.manifest_bytes, bundle.signature())


class Unavailable:
    """The repository when it could not be refreshed: whoever needs it gets the reason; see `Source`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def offer(self, _wanted: Wanted) -> Offer | str | None:
        """Raise the error."""
        raise self._error

    def deliver(self, _offer: Offer, _store: Store) -> Manifest:
        """Raise the error."""
        raise self._error


def read_manifest(store: Store, offer: Offer) -> Manifest:
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


def _take(store: Store, digest: str, size: int, chunks: Iterable[bytes]) -> None:
    # ``chunks`` are lazy: nothing is requested for a blob that is here already.
    if not store.has(digest, size):
        store.add(digest, size, chunks)


@contextmanager
def _opened(path: Path) -> Iterator[Bundle]:
    try:
        with open_bundle(path) as bundle:
            yield bundle
    except BundleError as error:
        raise VerifyError(str(error)) from None
