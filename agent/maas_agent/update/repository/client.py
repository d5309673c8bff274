"""Shows the repository to a device: what it offers by verified TUF metadata, and the bytes behind it.

Only this folder knows TUF's metadata. Its errors while something is fetched: `maas_agent.update.transfer.fetch` too.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import ConfigError, PullError, UpdateError, VerifyError
from maas_agent.network.addresses import split_query
from maas_agent.update.choose import Catalogue, Offer
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.repository.catalogue import catalogue
from maas_agent.update.repository.file_signature import read_root
from maas_agent.update.repository.trusted_state import TrustedState
from maas_agent.update.repository.tuf_client import TufClient
from maas_agent.update.transfer.fetch import Fetcher
from maas_agent.update.transfer.partial_download import Body

_ROLES = ("root", "timestamp", "snapshot", "targets")

Offered = dict[str, Catalogue | UpdateError]
"""For each model what is offered, or why nothing can be said about it."""


class Repository:
    """Static files on some server, trusted through the root metadata that the device was given.

    ``warn`` gets a sentence when something was lost that does not stop an update.
    """

    def __init__(self, access: RepositoryAccess, store: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self._url = split_query(access.url)[0]
        self._root = Path(access.root)
        self._store = store
        self._metadata = store / "tuf"
        self._warn = warn
        self._standing: TrustedState | None = None
        self._fetcher = Fetcher(access)

    def refresh(self) -> Catalogue:
        """Fetch what changed, verify it, make it durable, and say all that is offered, by delegated roles too.

        Raises `PullError` if the server does not deliver, `VerifyError` if what it delivers is not to be trusted.
        """
        with self._explained():
            client, standing = self._refreshed()
            everything = _admitted(client, standing, None)
            standing.save()
            return everything

    def refresh_for(self, models: Iterable[str]) -> Offered:
        """The same for these models only; what is wrong with a role that one of them needs is not held against others.

        Raises as `refresh`, if what is wrong concerns all.
        """
        offered: Offered = {}
        with self._explained():
            client, standing = self._refreshed()
            for model in models:
                try:
                    with self._explained():
                        offered[model] = _admitted(client, standing, model)
                except UpdateError as error:
                    offered[model] = error
            # Durable before anything is done with what is offered.
            standing.save()
        return offered

    def manifest(self, offer: Offer, start: int = 0) -> Body:
        """The bytes of an offered manifest, unverified: their digest is the offer's. Raises `PullError`."""
        return self._target(offer, offer.digest, "manifest", start)

    def delivery(self, offer: Offer) -> Body:
        """The bytes of the delivery document that the offer has, unverified likewise."""
        return self._target(offer, offer.delivery.digest if offer.delivery else "", "delivery", 0)

    def blob(self, digest: str, start: int = 0) -> Body:
        """The bytes of a stored blob from ``start`` on, unverified: their digest is its name. Raises `PullError`."""
        return self._fetcher.body(f"{self._url}/blobs/{digest}", start)

    def _target(self, offer: Offer, digest: str, what: str, start: int) -> Body:
        folder = "/".join(quote(part, safe="") for part in (offer.name, offer.version))
        return self._fetcher.body(f"{self._url}/targets/{folder}/{digest}.{what}.json", start)

    def _refreshed(self) -> tuple[TufClient, TrustedState]:
        root = read_root(self._root)
        self._standing = standing = TrustedState(self._store, digest_of(root), self._warn)
        try:
            client = TufClient(self._metadata, f"{self._url}/metadata/", self._fetcher, root, standing.time)
        except RepositoryError as error:
            raise ConfigError(f"{self._root} is no root metadata of a repository: {error}") from None
        client.refresh()
        return client, standing

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ExpiredMetadataError as error:
            raise VerifyError(self._what_expired(error)) from None
        except RepositoryError as error:
            raise VerifyError(f"the metadata of {self._url} is not to be trusted: {_in_words(error)}") from None
        except DownloadError as error:
            raise PullError(self._what_failed(error)) from None
        except OSError as error:
            raise PullError(f"cannot keep the repository's metadata in {self._metadata}: {error.strerror}") from None

    def _what_failed(self, error: DownloadError) -> str:
        if isinstance(error, DownloadHTTPError) and error.status_code == 404:
            from_elsewhere = f" ({error})" if "leads to" in str(error) else ""
            lacks = f"metadata that must be there is not found{from_elsewhere}"
            return f"{self._url} is no repository, or is incomplete: {lacks}"
        return f"cannot fetch metadata from {self._url}: {self._fetcher.reason_of(error)}"

    def _what_expired(self, error: ExpiredMetadataError) -> str:
        now = self._standing.now if self._standing else datetime.now(UTC)
        for role in [*_ROLES, *self._fetcher.seen]:
            expires = self._expiry(role)
            if expires is not None and expires <= now:
                return (
                    f"the repository's {role} metadata expired on {expires:%Y-%m-%d %H:%M} UTC: "
                    f"its publisher must run 'maas-converter repo refresh' (or this device's clock is wrong)"
                )
        return f"the repository's metadata expired: {error}"

    def _expiry(self, role: str) -> datetime | None:
        try:
            data = self._fetcher.seen.get(role) or (self._metadata / f"{role}.json").read_bytes()
            return Metadata[Any].from_bytes(data).signed.expires  # type: ignore[no-any-return]
        except (OSError, RepositoryError):
            return None


def _in_words(error: RepositoryError) -> str:
    # What is wrong with a document stands in the cause alone.
    return f"{error}: {error.__cause__}" if isinstance(error, DeserializationError) and error.__cause__ else str(error)


def _admitted(client: TufClient, standing: TrustedState, model: str | None) -> Catalogue:
    roles = client.roles_for(model)
    standing.admit(client, roles)
    return catalogue(roles, model)
