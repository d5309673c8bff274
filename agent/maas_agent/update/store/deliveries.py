"""Keeps the verified delivery documents: how the blobs of a bundle are stored, where that is not plainly.

A file ``deliveries/<manifest's sha256>.json`` holds a document exactly as it was signed: its digest tells whether the
repository has another one by now. A blob that is only compressed is expanded when it arrives; a sealed one stays as
it came, under its stored digest, and nothing plain of it is ever written.
"""

from pathlib import Path

from maas_agent.bundle.delivery import Delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.staged import delivery_path, staged_delivery
from maas_agent.errors import PullError
from maas_agent.host.files import make_folder, sync_folder, write_durably
from maas_agent.update.transfer.partial_download import what_the_disk_said


class Deliveries:
    """Keeps the folder ``<store>/deliveries``; manifests are named by their digests."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def of(self, manifest: str) -> Delivery | None:
        """The document of a bundle; ``None`` if its blobs are stored plainly. Raises `BundleError` if it is damaged."""
        return staged_delivery(self._store, manifest)

    def digest(self, manifest: str) -> str | None:
        """The SHA-256 of the document that is here."""
        try:
            return digest_of(delivery_path(self._store, manifest).read_bytes())
        except OSError:
            return None

    def keep(self, manifest: str, document: bytes | None) -> None:
        """Keep a document that was verified, in the place of another one; ``None``: none. Raises `PullError`."""
        path = delivery_path(self._store, manifest)
        try:
            if document is None:
                if path.exists():
                    path.unlink()
                    sync_folder(path.parent)
            elif self.digest(manifest) != digest_of(document):
                make_folder(path.parent)
                write_durably(path, document)
        except OSError as error:
            raise PullError(what_the_disk_said(error, path.parent, len(document or b""))) from None

    def drop_others(self, manifests: set[str]) -> int:
        """Remove the documents of all bundles but these; return the bytes freed."""
        kept = {delivery_path(self._store, manifest) for manifest in manifests}
        return sum(removed(path) for path in (self._store / "deliveries").glob("*") if path not in kept)


def kept(blobs: dict[str, int], delivery: Delivery | None) -> dict[str, int]:
    """Digest and size of the files that these plain blobs (digest to size) are on the device."""
    stored = delivery.blobs if delivery else {}
    return dict(
        (stored[plain].stored, stored[plain].size) if plain in stored and stored[plain].is_sealed else (plain, size)
        for plain, size in blobs.items()
    )


def removed(path: Path) -> int:
    """Remove a file; return its size in bytes. A folder, which nobody here has made, stays, and the others go."""
    size = path.lstat().st_size
    try:
        path.unlink()
    except IsADirectoryError:
        return 0
    return size
