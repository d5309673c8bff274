"""Blobs in a folder, each in a file named by its digest: how a device keeps them, and so how they are run here."""

from pathlib import Path

from maas_agent.bundle.archive import Bundle
from maas_agent.bundle.manifest import digest_of


class Blobs:
    """The blobs of one or several bundles in ``folder``, which exists and is temporary."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, data: bytes) -> str:
        """Keep ``data``; return its digest."""
        digest = digest_of(data)
        self.path(digest).write_bytes(data)
        return digest

    def path(self, digest: str) -> Path:
        """The file that the blob of this digest lies in."""
        return self._folder / digest

    def read(self, digest: str) -> bytes:
        """The content of a blob."""
        return self.path(digest).read_bytes()


def unpack(bundle: Bundle, folder: Path) -> Blobs:
    """The stages of ``bundle`` in ``folder``, ready to be loaded."""
    blobs = Blobs(folder)
    for stage in bundle.manifest.stages:
        blobs.add(bundle.blob(stage.blob))
    return blobs
