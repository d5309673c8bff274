"""Bundles in the store: digest before every load."""

from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import MAX_MANIFEST_BYTES, Manifest
from maas_agent.bundle.staged import Staged, blob_path
from maas_agent.errors import BundleError
from tests.agent.staging import stage
from tests.bundles import make_bundle


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """That of a bundle which is staged in ``tmp_path``."""
    return stage(make_bundle(tmp_path / "a.maas"), tmp_path)


@pytest.fixture
def manifest(tmp_path: Path, digest: str) -> Manifest:
    with open_bundle(tmp_path / "a.maas") as bundle:
        assert Staged(tmp_path, digest).manifest == bundle.manifest
        return bundle.manifest


def test_a_whole_bundle_passes_and_its_blobs_are_files(manifest: Manifest, digest: str, tmp_path: Path) -> None:
    staged = Staged(tmp_path, digest)
    assert {staged.path(blob) for blob in manifest.blobs()} == {blob_path(tmp_path, blob) for blob in manifest.blobs()}


@pytest.mark.parametrize("which", [0, 1], ids=["model", "golden"])
def test_a_blob_with_one_flipped_bit_is_refused(manifest: Manifest, digest: str, tmp_path: Path, which: int) -> None:
    path = blob_path(tmp_path, list(manifest.blobs())[which])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is damaged"):
        Staged(tmp_path, digest)


def test_a_blob_that_is_missing_cut_or_longer_is_refused(manifest: Manifest, digest: str, tmp_path: Path) -> None:
    path = blob_path(tmp_path, manifest.stages[0].blob)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match="is damaged"):
        Staged(tmp_path, digest)
    path.write_bytes(data + b"\0")
    with pytest.raises(BundleError, match="larger than its manifest says"):
        Staged(tmp_path, digest)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        Staged(tmp_path, digest)


def test_a_manifest_that_is_missing_damaged_or_too_large_is_refused(tmp_path: Path) -> None:
    digest = stage(make_bundle(tmp_path / "a.maas"), tmp_path)
    path = blob_path(tmp_path, digest)
    path.write_bytes(path.read_bytes().replace(b"class-1", b"class-2"))
    with pytest.raises(BundleError, match="is damaged"):
        Staged(tmp_path, digest)
    path.write_bytes(bytes(MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="larger"):
        Staged(tmp_path, digest)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Staged(tmp_path, digest)
