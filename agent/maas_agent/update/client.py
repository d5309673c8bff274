"""The repository as a device sees it: what it offers, by TUF metadata that was verified, and the bytes behind it.

TUF (python-tuf's ``ngclient``) decides what is signed, fresh and not rolled back. It replaces its files without
fsync, and a device that lost its timestamp would accept an older one; so they are synced here.
Only this module and `maas_agent.update.trust` know TUF.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile, Targets  # type: ignore[attr-defined]  # tuf has no __all__
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, NAME
from maas_agent.bundle.version import parse_version
from maas_agent.errors import ConfigError, DataError, PullError, VerifyError
from maas_agent.files import sync_folder
from maas_agent.update.choose import Channels, Offer
from maas_agent.update.fetch import Fetcher, reason_of
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.trust import read_root

_DIGEST = re.compile("[0-9a-f]{64}")
_ROLES = ("root", "timestamp", "snapshot", "targets")
_CONFIG = UpdaterConfig(targets_max_length=16 << 20)


class Catalogue(msgspec.Struct, frozen=True):
    """What the repository offers, as its publisher signed it."""

    offers: tuple[Offer, ...]
    channels: Channels


class Repository:
    """Static files on some server, trusted through the root metadata that the device was given."""

    def __init__(self, access: RepositoryAccess, store: Path) -> None:
        self._url = access.url.rstrip("/")
        self._root = Path(access.root)
        self._metadata = store / "tuf"
        self._fetcher = Fetcher()

    def refresh(self) -> Catalogue:
        """Fetch what changed, verify it, make it durable, and say what is offered.

        Raises `PullError` if the server does not deliver, `VerifyError` if what it delivers is not to be trusted.
        """
        try:
            self._metadata.mkdir(parents=True, exist_ok=True)
            updater = self._updater()
            updater.refresh()
            _sync(self._metadata)
            return _catalogue(self._metadata / "targets.json")
        except ExpiredMetadataError as error:
            raise VerifyError(self._what_expired(error)) from None
        except RepositoryError as error:
            raise VerifyError(f"the metadata of {self._url} is not to be trusted: {error}") from None
        except DownloadError as error:
            raise PullError(self._what_failed(error)) from None
        except OSError as error:
            raise PullError(f"cannot keep the repository's metadata in {self._metadata}: {error.strerror}") from None

    def manifest(self, offer: Offer) -> Iterator[bytes]:
        """The bytes of an offered manifest, unverified: their digest is the offer's. Raises `PullError`."""
        folder = "/".join(quote(part, safe="") for part in (offer.name, offer.version))
        return self._fetcher.chunks(f"{self._url}/targets/{folder}/{offer.digest}.manifest.json")

    def blob(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, unverified: their digest is its name. Raises `PullError`."""
        return self._fetcher.chunks(f"{self._url}/blobs/{digest}")

    def _updater(self) -> Updater:
        root = read_root(self._root)
        try:
            url = f"{self._url}/metadata/"
            return Updater(str(self._metadata), url, fetcher=self._fetcher, config=_CONFIG, bootstrap=root)
        except RepositoryError as error:
            raise ConfigError(f"{self._root} is no root metadata of a repository: {error}") from None

    def _what_failed(self, error: DownloadError) -> str:
        if isinstance(error, DownloadHTTPError) and error.status_code == 404:
            return f"{self._url} is no repository, or is incomplete: metadata that must be there is not found"
        return f"cannot fetch metadata from {self._url}: {reason_of(error)}"

    def _what_expired(self, error: ExpiredMetadataError) -> str:
        now = datetime.now(UTC)
        for role in _ROLES:
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


def _catalogue(path: Path) -> Catalogue:
    # The updater has just verified and stored this file; it has no public call that lists targets.
    targets = Metadata[Targets].from_file(str(path)).signed
    offers = (_offer(name, target) for name, target in targets.targets.items())
    try:
        channels = msgspec.convert(targets.unrecognized_fields.get("channels", {}), dict[str, dict[str, str]])
        for version in (version for known in channels.values() for version in known.values()):
            parse_version(version)
    except (msgspec.ValidationError, DataError) as error:
        raise VerifyError(f"the repository's channels are not readable: {error}") from None
    return Catalogue(tuple(offer for offer in offers if offer is not None), channels)


def _offer(path: str, target: TargetFile) -> Offer | None:
    """What a target path offers; ``None`` for another kind of target, which a later release may bring."""
    name, _, rest = path.partition("/")
    version, _, file = rest.partition("/")
    digest = target.hashes.get("sha256")
    if file != "manifest.json" or not NAME.fullmatch(name) or target.length > MAX_MANIFEST_BYTES:
        return None
    if digest is None or not _DIGEST.fullmatch(digest):
        return None  # it becomes a file name
    try:
        parse_version(version)
    except DataError:
        return None
    return Offer(name, version, digest, target.length)


def _sync(folder: Path) -> None:
    for path in [*folder.glob("*.json"), *folder.glob("root_history/*.json")]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for changed in (folder / "root_history", folder, folder.parent):
        sync_folder(changed)
