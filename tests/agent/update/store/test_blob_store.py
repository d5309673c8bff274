"""The blob store: complete or absent, never in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, Delivery, encode_delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import PullError
from maas_agent.update.store.blob_store import BlobStore
from maas_agent.update.transfer.partial_download import Body, whole
from tests.bundles import make_bundle


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").iterdir()}


def installed(store: BlobStore, path: Path) -> tuple[str, set[str]]:
    """The manifest's digest, and those of its blobs."""
    with open_bundle(path) as bundle:
        store.add(bundle.digest, len(bundle.manifest_bytes), whole([bundle.manifest_bytes]))
        for digest, size in bundle.manifest.blobs().items():
            store.add(digest, size, whole([bundle.blob(digest)]))
        return bundle.digest, set(bundle.manifest.blobs())


def test_a_blob_is_found_under_its_digest(store: BlobStore) -> None:
    """In as many pieces as the network likes."""
    store.add(digest_of(b"weights"), 7, whole([b"wei", b"", b"ghts"]))
    assert store.blob_path(digest_of(b"weights")).read_bytes() == b"weights"
    assert store.has(digest_of(b"weights"), 7)
    assert store.read(digest_of(b"weights")) == b"weights"


@pytest.mark.parametrize("arrived", [b"weights!", b"weighty"])
def test_what_is_not_what_was_signed_leaves_nothing(store: BlobStore, tmp_path: Path, arrived: bytes) -> None:
    """Too long, or changed: no part of it can be used."""
    with pytest.raises(PullError):
        store.add(digest_of(b"weights"), 7, whole([arrived]))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("error", [PullError("the connection broke"), KeyboardInterrupt()])
def test_what_broke_off_goes_on_where_it_was(store: BlobStore, tmp_path: Path, error: BaseException) -> None:
    """The bytes that had arrived are not asked for again."""

    def broken() -> Iterator[bytes]:
        yield b"wei"
        raise error

    digest, asked = digest_of(b"weights"), []

    def rest(start: int) -> Body:
        asked.append(start)
        return Body(start, iter([b"weights"[start:]]))

    with pytest.raises(type(error)):
        store.add(digest, 7, whole(broken()))
    assert names(tmp_path) == {f".{digest}.part"}
    store.add(digest, 7, rest)
    assert (asked, names(tmp_path), store.read(digest)) == ([3], {digest}, b"weights")


def test_a_source_that_can_only_begin_at_the_beginning_does(store: BlobStore) -> None:
    """What is here is thrown away then, and not joined to what it does not belong to."""
    digest = digest_of(b"weights")
    with pytest.raises(PullError, match="ended after 3 of 7 bytes"):
        store.add(digest, 7, whole([b"wei"]))
    store.add(digest, 7, whole([b"weights"]))
    assert store.read(digest) == b"weights"


@pytest.mark.parametrize("held", [b"WEI", b"weighty", b"weights and more"])
def test_a_part_that_is_bad_costs_one_download_and_no_more(store: BlobStore, tmp_path: Path, held: bytes) -> None:
    """A power cut garbled it: the sum shows it, the part goes, and the next time all is asked for."""
    digest = digest_of(b"weights")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / f".{digest}.part").write_bytes(held)

    def rest(start: int) -> Body:
        return Body(start, iter([b"weights"[start:]]))

    if len(held) <= 7:
        with pytest.raises(PullError, match="arrived damaged"):
            store.add(digest, 7, rest)
        assert names(tmp_path) == set()
    store.add(digest, 7, rest)
    assert store.read(digest) == b"weights"


def test_a_part_that_is_complete_is_not_asked_for(store: BlobStore, tmp_path: Path) -> None:
    """The process was killed between the last byte and the new name."""
    digest = digest_of(b"weights")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / f".{digest}.part").write_bytes(b"weights")

    def never(_start: int) -> Body:
        raise AssertionError("nothing is missing")

    store.add(digest, 7, never)
    assert names(tmp_path) == {digest}


def test_a_damaged_blob_is_not_here(store: BlobStore) -> None:
    """Its name and length are right, its content is not."""
    digest = digest_of(b"weights")
    store.add(digest, 7, whole([b"weights"]))
    store.blob_path(digest).write_bytes(b"weighty")
    assert not store.has(digest, 7)
    with pytest.raises(PullError, match="damaged in the store"):
        store.read(digest)


def test_garbage_is_what_no_kept_manifest_needs(store: BlobStore, tmp_path: Path) -> None:
    """Blobs that two bundles share stay for the one that stays."""
    old, old_blobs = installed(store, make_bundle(tmp_path / "old.maas", version="1.0.0", seed=1))
    new, new_blobs = installed(store, make_bundle(tmp_path / "new.maas", version="1.1.0", seed=1, off_by=0.001))
    assert old_blobs & new_blobs
    (tmp_path / "blobs" / ".0.part").write_bytes(b"left by a puller that was killed")
    assert store.collect_garbage({new}) > 32
    assert names(tmp_path) == {new} | new_blobs
    assert store.collect_garbage({new}) == 0
    assert old not in names(tmp_path)


def test_nothing_is_garbage_while_a_kept_manifest_cannot_be_read(store: BlobStore, tmp_path: Path) -> None:
    """It is unknown what it needs."""
    kept, _ = installed(store, make_bundle(tmp_path / "kept.maas"))
    store.blob_path(kept).write_bytes(b"?")
    before = names(tmp_path)
    assert store.collect_garbage({kept}) == 0
    assert names(tmp_path) == before


def test_an_empty_store_has_no_garbage(store: BlobStore) -> None:
    """A device on its first day."""
    assert store.collect_garbage(set()) == 0


def test_what_an_unfinished_download_brought_is_no_garbage(store: BlobStore, tmp_path: Path) -> None:
    """Its manifest, the blobs that are complete, and parts of what is awaited; until it is given up."""
    new, new_blobs = installed(store, make_bundle(tmp_path / "new.maas"))
    packed = DeliveredBlob(digest_of(b"packed"), 6, "zlib")
    store.deliveries.keep(new, encode_delivery(Delivery(blobs={min(new_blobs): packed})))
    arriving, foreign = f".{packed.stored}.part", f".{digest_of(b'foreign')}.part"
    for name in (arriving, foreign):
        (tmp_path / "blobs" / name).write_bytes(b"half")
    store.set_pulling({new})
    store.collect_garbage(set())
    assert names(tmp_path) == {new, *new_blobs, arriving}
    store.set_pulling(set())
    store.collect_garbage(set())
    assert names(tmp_path) == set()


def test_a_manifest_that_has_not_come_completely_is_awaited_too(store: BlobStore, tmp_path: Path) -> None:
    """The very first file of a bundle."""
    with pytest.raises(PullError, match="ended after 3 of 7 bytes"):
        store.add(digest_of(b"weights"), 7, whole([b"wei"]))
    store.set_pulling({digest_of(b"weights")})
    store.collect_garbage(set())
    assert names(tmp_path) == {f".{digest_of(b'weights')}.part"}


def test_nothing_at_all_leaves_no_part(store: BlobStore, tmp_path: Path) -> None:
    """A server that is down, asked for ever new blobs."""

    def down(_start: int) -> Body:
        raise PullError("connection refused")

    with pytest.raises(PullError, match="refused"):
        store.add(digest_of(b"weights"), 7, down)
    assert names(tmp_path) == set()


def test_a_damaged_list_of_downloads_is_no_list(store: BlobStore, tmp_path: Path) -> None:
    """It costs a download that begins anew."""
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / "pulling.json").write_bytes(b"{")
    assert store.pulling() == set()


def test_what_an_older_agent_had_begun_goes_on(store: BlobStore, tmp_path: Path) -> None:
    """It kept the list in the store itself."""
    (tmp_path / "pulling.json").write_bytes(b'["' + b"a" * 64 + b'"]')
    assert store.pulling() == {"a" * 64}
    store.set_pulling(set())
    assert store.pulling() == set() and (tmp_path / "updates" / "pulling.json").exists()


def test_what_a_sealed_bundle_needs_is_what_is_stored_and_its_delivery_stays(store: BlobStore, tmp_path: Path) -> None:
    """The plain blob of the same digest may go: another bundle had it plainly."""
    manifest, blobs = installed(store, make_bundle(tmp_path / "sealed.maas"))
    plain, other = sorted(blobs)
    sealed = DeliveredBlob(digest_of(b"sealed"), 6, "sealed")
    store.add(sealed.stored, sealed.size, whole([b"sealed"]))
    document = encode_delivery(Delivery(blobs={plain: sealed}, recipients={"c" * 64: "a2V5"}))
    store.deliveries.keep(manifest, document)
    store.deliveries.keep("f" * 64, document)
    store.collect_garbage({manifest})
    assert names(tmp_path) == {manifest, other, sealed.stored}
    assert [path.name for path in (tmp_path / "deliveries").iterdir()] == [f"{manifest}.json"]
    assert store.needs(manifest) == {sealed.stored: 6, other: store.blob_path(other).stat().st_size}


def test_nothing_is_garbage_while_a_delivery_is_damaged(store: BlobStore, tmp_path: Path) -> None:
    """It is unknown which stored blobs belong to the bundle."""
    manifest, _ = installed(store, make_bundle(tmp_path / "sealed.maas"))
    store.deliveries.keep(manifest, b"{")
    store.add(digest_of(b"sealed"), 6, whole([b"sealed"]))
    assert store.collect_garbage({manifest}) == 0
