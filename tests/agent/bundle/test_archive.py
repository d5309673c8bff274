"""``.maas`` files: what is written is opened, and whatever else one may find in a file is refused."""

import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from maas_agent.bundle.archive import MAX_BUNDLE_BYTES, MAX_SIGNATURE_BYTES, open_bundle, write_bundle
from maas_agent.errors import BundleError, NoInputError
from tests.agent.memory import file_size_limit, memory_limit
from tests.bundles import make_bundle

SIGNATURE = b'{"signatures": []}'
Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle."""
    return make_bundle(tmp_path_factory.mktemp("good") / "good.maas", sign=lambda _: SIGNATURE)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.maas"


def entries_of(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, entries: Entries, more: Callable[[zipfile.ZipFile], None] = lambda _: None) -> Path:
    """A zip file of these entries, stored, and what ``more`` adds."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        more(archive)
    return path


def blob_of(entries: Entries) -> str:
    return next(name for name in entries if name.startswith("blobs/"))


def test_what_is_written_is_opened(good: Path, target: Path) -> None:
    with open_bundle(good) as bundle:
        blobs = {digest: bundle.blob(digest) for digest in bundle.manifest.blobs()}
        write_bundle(target, bundle.manifest_bytes, blobs, bundle.signature())
        assert bundle.signature() == SIGNATURE
        assert {digest: len(blob) for digest, blob in blobs.items()} == bundle.manifest.blobs()
        with open_bundle(target) as again:
            assert (again.manifest, again.digest) == (bundle.manifest, bundle.digest)
            assert {digest: again.blob(digest) for digest in blobs} == blobs


def test_the_same_content_gives_the_same_bytes_in_any_order(good: Path, target: Path) -> None:
    with open_bundle(good) as bundle:
        blobs = {digest: bundle.blob(digest) for digest in bundle.manifest.blobs()}
        write_bundle(target, bundle.manifest_bytes, dict(reversed(blobs.items())), SIGNATURE)
    assert target.read_bytes() == good.read_bytes()


def test_a_bundle_without_a_signature_has_none(target: Path) -> None:
    with open_bundle(make_bundle(target)) as bundle:
        assert bundle.signature() is None


def test_a_foreign_zip_of_the_right_entries_is_a_bundle(good: Path, target: Path) -> None:
    """The other tests of this file change one thing of this one."""
    with open_bundle(zipped(target, entries_of(good))) as bundle:
        assert bundle.signature() == SIGNATURE


def test_a_file_cut_anywhere_is_refused(good: Path, target: Path) -> None:
    data = good.read_bytes()
    for end in [*range(0, len(data), 97), *range(len(data) - 30, len(data))]:
        target.write_bytes(data[:end])
        with pytest.raises(BundleError, match=r"target\.maas"), open_bundle(target):
            pass


def test_a_damaged_file_is_refused_or_has_lost_nothing(good: Path, target: Path) -> None:
    """One bit, in many places: each is found, or was one that says nothing (a time stamp, say)."""
    data, expected = good.read_bytes(), contents(good)
    positions = range(0, len(data), 11)
    refused = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        target.write_bytes(damaged)
        try:
            assert contents(target) == expected
        except BundleError:
            refused += 1
    assert refused > len(positions) * 0.9


def test_whatever_is_wrong_with_the_headers_is_a_bundle_error(good: Path, target: Path) -> None:
    """Offsets before the file's beginning, flags of encryption, lengths of anything: many, at random."""
    data = good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        headers = [*range(archive.start_dir, len(data))]
        headers += [info.header_offset + i for info in archive.infolist() for i in range(30 + len(info.filename))]
    choice = random.Random(7)
    for _ in range(600):
        damaged = bytearray(data)
        for position in choice.sample(headers, choice.randint(1, 4)):
            damaged[position] = choice.choice([0x00, 0x01, 0x80, 0xFF, choice.randrange(256)])
        target.write_bytes(damaged)
        try:
            contents(target)
        except BundleError as error:
            assert "target.maas" in str(error) or "manifest" in str(error)


def contents(path: Path) -> tuple[bytes, bytes | None, dict[str, bytes]]:
    with open_bundle(path) as bundle:
        return bundle.manifest_bytes, bundle.signature(), {d: bundle.blob(d) for d in bundle.manifest.blobs()}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "blobs/../../evil",
        "blobs/",
        "blobs/" + "A" * 64,
        "blobs/" + "0" * 63,
        "blobs/" + "0" * 64 + "\n",
        "blobs\\" + "0" * 64,
        "Manifest.json",
        "manifest.json/",
        "./manifest.json",
        "readme.txt",
    ],
)
def test_an_entry_of_any_other_name_is_refused(good: Path, target: Path, name: str) -> None:
    zipped(target, entries_of(good) | {name: b"evil"})
    with pytest.raises(BundleError, match="which no bundle has"), open_bundle(target):
        pass


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(good: Path, target: Path) -> None:
    """What is verified must be what is read."""
    entries = entries_of(good)
    zipped(target, entries, lambda archive: archive.writestr("manifest.json", entries["manifest.json"]))
    with pytest.raises(BundleError, match="which no bundle has"), open_bundle(target):
        pass


def test_a_symbolic_link_is_refused(good: Path, target: Path) -> None:
    entries = entries_of(good)
    blob = blob_of(entries)
    data = entries.pop(blob)
    link = zipfile.ZipInfo(blob)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    zipped(target, entries, lambda archive: archive.writestr(link, data))
    with pytest.raises(BundleError, match="no plain file"), open_bundle(target):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_entry_is_refused(good: Path, target: Path, method: int) -> None:
    """So that no file can be larger than it looks."""
    entries = entries_of(good)
    manifest = entries.pop("manifest.json")
    zipped(target, entries, lambda archive: archive.writestr("manifest.json", manifest, method))
    with pytest.raises(BundleError, match="is compressed"), open_bundle(target):
        pass


@pytest.mark.parametrize("change", ["missing", "extra", "longer", "shorter"])
def test_blobs_other_than_those_of_the_manifest_are_refused(good: Path, target: Path, change: str) -> None:
    entries = entries_of(good)
    blob = blob_of(entries)
    match change:
        case "missing":
            del entries[blob]
        case "extra":
            entries["blobs/" + "0" * 64] = b"extra"
        case "longer":
            entries[blob] += b"\0"
        case "shorter":
            entries[blob] = entries[blob][:-1]
    with pytest.raises(BundleError, match="not those of its manifest"), open_bundle(zipped(target, entries)):
        pass


def test_a_blob_of_another_content_is_refused(good: Path, target: Path) -> None:
    entries = entries_of(good)
    blob = blob_of(entries)
    entries[blob] = bytes(len(entries[blob]))
    with pytest.raises(BundleError, match="does not match its digest"), open_bundle(zipped(target, entries)):
        pass


def test_a_bundle_without_a_manifest_is_refused(good: Path, target: Path) -> None:
    entries = entries_of(good)
    del entries["manifest.json"]
    with pytest.raises(BundleError, match=r"no manifest\.json"), open_bundle(zipped(target, entries)):
        pass


@pytest.mark.parametrize("name", ["manifest.json", "signature.json"])
def test_a_manifest_or_signature_that_is_too_large_is_refused(good: Path, target: Path, name: str) -> None:
    entries = entries_of(good) | {name: bytes(2 << 20)}
    with pytest.raises(BundleError, match=f"{name} has more than"), open_bundle(zipped(target, entries)):
        pass
    assert MAX_SIGNATURE_BYTES < 2 << 20


def test_a_blob_that_claims_two_gigabytes_is_refused_without_reading_them(good: Path, target: Path) -> None:
    """The manifest and the zip directory agree on the size; the file has no such bytes."""
    entries = entries_of(good)
    manifest = msgspec.json.decode(entries["manifest.json"])
    huge = 0x7FFF_FFFF
    old = manifest["stages"][0]["size"]
    manifest["stages"][0]["size"] = huge
    entries["manifest.json"] = msgspec.json.encode(manifest)
    data = zipped(target, entries).read_bytes()
    assert data.count(old.to_bytes(4, "little") * 2) == 2  # in the entry's header, and in the directory
    target.write_bytes(data.replace(old.to_bytes(4, "little") * 2, huge.to_bytes(4, "little") * 2))
    with pytest.raises(BundleError), memory_limit(1 << 30), open_bundle(target):
        pass


def test_a_zip_of_very_many_entries_is_refused(good: Path, target: Path) -> None:
    many = {f"blobs/{number:064x}": b"" for number in range(300)}
    with pytest.raises(BundleError, match="at most 256"), open_bundle(zipped(target, entries_of(good) | many)):
        pass


def test_a_file_beyond_the_bound_is_refused_by_its_size(target: Path) -> None:
    with target.open("wb") as file:
        file.truncate(MAX_BUNDLE_BYTES + 1)  # sparse: takes no space
    with pytest.raises(BundleError, match="at most"), open_bundle(target):
        pass


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04", bytes(1000), b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip_is_refused(target: Path, data: bytes) -> None:
    target.write_bytes(data)
    with pytest.raises(BundleError, match=r"target\.maas"), open_bundle(target):
        pass


def test_a_missing_file_and_a_folder_are_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="No such file"), open_bundle(tmp_path / "none.maas"):
        pass
    with pytest.raises(NoInputError, match="is a folder"), open_bundle(tmp_path):
        pass


@pytest.mark.parametrize("error", [KeyError("mine"), ValueError("mine"), OSError("mine"), zipfile.BadZipFile("mine")])
def test_what_the_caller_raises_stays_what_it_is(good: Path, error: Exception) -> None:
    """A mistake inside ``with open_bundle()`` is not the bundle's fault."""
    with pytest.raises(type(error), match="mine"), open_bundle(good):
        raise error


def test_a_bundle_that_changes_under_its_reader_is_refused(target: Path) -> None:
    with open_bundle(make_bundle(target, classes=200)) as bundle:  # larger than what is read ahead
        digest = bundle.manifest.stages[0].blob
        data = target.read_bytes()
        with target.open("r+b") as file:
            file.seek(data.index(b"TFL3") + 20_000)
            file.write(b"xxxx")
        with pytest.raises(BundleError):
            bundle.blob(digest)


def test_a_write_that_fails_leaves_the_old_bundle_and_nothing_else(good: Path, target: Path) -> None:
    """A full disk: here a limit on the size of files."""
    target.write_bytes(b"old")
    with open_bundle(good) as bundle:
        blobs = {digest: bundle.blob(digest) for digest in bundle.manifest.blobs()}
        with pytest.raises(OSError, match="File too large"), file_size_limit(1000):
            write_bundle(target, bundle.manifest_bytes, blobs)
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == [target.name]
