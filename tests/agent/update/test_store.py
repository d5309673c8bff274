"""The blob store: complete or absent, never in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import PullError
from maas_agent.update.store import Store
from tests.bundles import make_bundle


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").iterdir()}


def installed(store: Store, path: Path) -> tuple[str, set[str]]:
    """The manifest's digest, and those of its blobs."""
    with open_bundle(path) as bundle:
        store.add(bundle.digest, len(bundle.manifest_bytes), [bundle.manifest_bytes])
        for digest, size in bundle.manifest.blobs().items():
            store.add(digest, size, [bundle.blob(digest)])
        return bundle.digest, set(bundle.manifest.blobs())


def test_a_blob_is_found_under_its_digest(store: Store) -> None:
    """In as many pieces as the network likes."""
    store.add(digest_of(b"weights"), 7, [b"wei", b"", b"ghts"])
    assert store.blob_path(digest_of(b"weights")).read_bytes() == b"weights"
    assert store.has(digest_of(b"weights"), 7)
    assert store.read(digest_of(b"weights")) == b"weights"


@pytest.mark.parametrize("arrived", [b"weight", b"weights!", b"weighty"])
def test_what_is_not_what_was_signed_leaves_nothing(store: Store, tmp_path: Path, arrived: bytes) -> None:
    """Too short, too long, changed."""
    with pytest.raises(PullError):
        store.add(digest_of(b"weights"), 7, [arrived])
    assert names(tmp_path) == set()


def test_a_source_that_breaks_off_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """Whatever the exception is."""

    def broken() -> Iterator[bytes]:
        yield b"wei"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add(digest_of(b"weights"), 7, broken())
    assert names(tmp_path) == set()


def test_a_damaged_blob_is_not_here(store: Store) -> None:
    """Its name and length are right, its content is not."""
    digest = digest_of(b"weights")
    store.add(digest, 7, [b"weights"])
    store.blob_path(digest).write_bytes(b"weighty")
    assert not store.has(digest, 7)
    with pytest.raises(PullError, match="damaged in the store"):
        store.read(digest)


def test_garbage_is_what_no_kept_manifest_needs(store: Store, tmp_path: Path) -> None:
    """Blobs that two bundles share stay for the one that stays."""
    old, old_blobs = installed(store, make_bundle(tmp_path / "old.maas", version="1.0.0", seed=1))
    new, new_blobs = installed(store, make_bundle(tmp_path / "new.maas", version="1.1.0", seed=1, off_by=0.001))
    assert old_blobs & new_blobs
    (tmp_path / "blobs" / ".0.part").write_bytes(b"left by a puller that was killed")
    assert store.collect_garbage({new}) > 32
    assert names(tmp_path) == {new} | new_blobs
    assert store.collect_garbage({new}) == 0
    assert old not in names(tmp_path)


def test_nothing_is_garbage_while_a_kept_manifest_cannot_be_read(store: Store, tmp_path: Path) -> None:
    """It is unknown what it needs."""
    kept, _ = installed(store, make_bundle(tmp_path / "kept.maas"))
    store.blob_path(kept).write_bytes(b"?")
    before = names(tmp_path)
    assert store.collect_garbage({kept}) == 0
    assert names(tmp_path) == before


def test_an_empty_store_has_no_garbage(store: Store) -> None:
    """A device on its first day."""
    assert store.collect_garbage(set()) == 0
