"""Makes room for a bundle: what is not needed goes first, what does not fit is refused before it is fetched."""

import os
from pathlib import Path

import msgspec

from maas_agent.errors import PullError
from maas_agent.update.store.blob_store import BlobStore


class Need(msgspec.Struct, frozen=True):
    """What a bundle still takes: ``files`` bytes for good, and ``passing`` bytes more while it arrives."""

    files: int
    passing: int = 0


class DiskQuota:
    """Bounds the space for bundles: at most ``max_bytes`` for all together, 0: as much as the disk has.

    ``keep`` are the digests of the manifests that stay whatever comes: what is active, previous or just tested; with
    ``keep_all`` everything stays.
    """

    def __init__(self, keep: set[str], max_bytes: int, *, keep_all: bool = False) -> None:
        self.keep = keep
        self._keep_all = keep_all
        self._max_bytes = max_bytes

    def make(self, store: BlobStore, what: str, manifest: str, need: Need) -> None:
        """Free what is not needed, if that is necessary, for the bundle of this manifest, called ``what`` to a person.

        Raises `PullError` with figures if there is not enough all the same.
        """
        if self._refusal(store, what, need) is None:
            return
        if not self._keep_all:
            store.collect_garbage(self.keep, {manifest})
        refusal = self._refusal(store, what, need)
        if refusal is not None:
            raise PullError(refusal)

    def _refusal(self, store: BlobStore, what: str, need: Need) -> str | None:
        held, more = store.size(), need.files + need.passing
        if self._max_bytes and held + more > self._max_bytes:
            return (
                f"{what} takes {_mb(more)} more, and {_mb(held)} of the {_mb(self._max_bytes)} that store.max_bytes "
                f"allows are taken by what is active or previous: allow more, or publish a smaller bundle"
            )
        free = _free(store.folder)
        if more > free:
            return f"{what} takes {_mb(more)} more, and {store.folder} has {_mb(free)} left: free some space"
        return None


def _free(folder: Path) -> int:
    """The bytes that an unprivileged process may still write there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(there)
    return disk.f_bavail * disk.f_frsize


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 10_000 else f"{size} bytes"
