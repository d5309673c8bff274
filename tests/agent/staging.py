"""Puts a bundle into a store as the puller does, without one."""

from pathlib import Path

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.staged import blob_path


def stage(bundle: Path, store: Path) -> str:
    """Copy manifest and blobs of ``bundle`` into ``store``; returns the manifest's digest."""
    with open_bundle(bundle) as opened:
        files = {digest: opened.blob(digest) for digest in opened.manifest.blobs()}
        files[opened.digest] = opened.manifest_bytes
        for digest, data in files.items():
            path = blob_path(store, digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return opened.digest
