"""Bundles in the store: digest before every load."""

from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from maas_agent.bundle.staged import blob_path, staged_manifest, verify_blobs
from maas_agent.errors import BundleError
from tests.agent.staging import stage
from tests.bundles import make_bundle


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """That of a bundle which is staged in ``tmp_path``."""
    path = make_bundle(tmp_path / "a.maas")
    digest = stage(path, tmp_path)
    with open_bundle(path) as bundle:
        assert staged_manifest(tmp_path, digest) == bundle.manifest
        return bundle.manifest


def test_a_whole_bundle_passes(manifest: Manifest, tmp_path: Path) -> None:
    verify_blobs(tmp_path, manifest)


@pytest.mark.parametrize("which", [0, 1], ids=["model", "golden"])
def test_a_blob_with_one_flipped_bit_is_refused(manifest: Manifest, tmp_path: Path, which: int) -> None:
    path = blob_path(tmp_path, list(manifest.blobs())[which])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is damaged"):
        verify_blobs(tmp_path, manifest)


def test_a_blob_that_is_missing_cut_or_longer_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    path = blob_path(tmp_path, manifest.stages[0].blob)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match="is damaged"):
        verify_blobs(tmp_path, manifest)
    path.write_bytes(data + b"\0")
    with pytest.raises(BundleError, match="larger than its manifest says"):
        verify_blobs(tmp_path, manifest)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        verify_blobs(tmp_path, manifest)


def test_a_manifest_that_is_missing_damaged_or_too_large_is_refused(tmp_path: Path) -> None:
    digest = stage(make_bundle(tmp_path / "a.maas"), tmp_path)
    path = blob_path(tmp_path, digest)
    path.write_bytes(path.read_bytes().replace(b"class-1", b"class-2"))
    with pytest.raises(BundleError, match="is damaged"):
        staged_manifest(tmp_path, digest)
    path.write_bytes(bytes(MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="larger"):
        staged_manifest(tmp_path, digest)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        staged_manifest(tmp_path, digest)
