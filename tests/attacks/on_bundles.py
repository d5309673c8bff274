"""Attacks by files that somebody brings: ``.maas`` archives, and repositories on a USB stick."""

import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from maas_agent.confinement import landlock
from tests.attacks.registry import attack
from tests.attacks.scene import Scene
from tests.bundles import make_bundle

Acts = Iterator[str | None]
Entries = dict[str, bytes]


def _brought(scene: Scene) -> Path:
    """1.1.0 as a file, signed by the publisher: what is accepted."""
    path = scene.folder / "usb.maas"
    scene.brought = make_bundle(path, version="1.1.0", seed=3, sign=scene.publisher.sign_bundle)
    return path


def _zipped(scene: Scene, change: Callable[[Entries], object], *more: tuple[zipfile.ZipInfo, bytes, int]) -> None:
    """Bring the same entries with a change, and some ``more`` in whichever form."""
    assert scene.brought is not None
    with zipfile.ZipFile(scene.brought) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    scene.brought = scene.folder / "evil.maas"
    with warnings.catch_warnings(), zipfile.ZipFile(scene.brought, "w", zipfile.ZIP_STORED) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in entries.items():
            archive.writestr(name, data)
        for info, data, method in more:
            archive.writestr(info, data, method)


def _model(entries: Entries) -> str:
    """The name of the largest blob."""
    return max((name for name in entries if name.startswith("blobs/")), key=lambda name: len(entries[name]))


@attack("path traversal", "../evil in a .maas", "/etc/evil in a .maas", "blobs/../../evil in a .maas")
def traversal_in_archive(scene: Scene, way: str) -> Acts:
    """Names are held to a closed list; nothing is ever unpacked by its name."""
    _brought(scene)
    yield None
    name = way.removesuffix(" in a .maas")
    _zipped(scene, lambda entries: entries.update({name: b"evil"}))
    yield f"holds the entry '{name}', which no bundle has"


@attack("path traversal", "an entry that is there twice")
def entry_twice(scene: Scene) -> Acts:
    """What is verified must be what is read."""
    _brought(scene)
    yield None
    _zipped(scene, lambda _: None, (zipfile.ZipInfo("manifest.json"), b"{}", zipfile.ZIP_STORED))
    yield "holds the entry 'manifest.json', which no bundle has"


@attack("symlink", "in a .maas")
def symlink_in_archive(scene: Scene) -> Acts:
    """A blob that is a link to the device's own files."""
    _brought(scene)
    yield None
    link = zipfile.ZipInfo("blobs/" + "0" * 64)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    _zipped(scene, lambda _: None, (link, b"/etc/passwd", zipfile.ZIP_STORED))
    yield "entry blobs/000…is no plain file"


@attack("symlink", "to another file on a USB stick", "to /dev/zero on a USB stick", "to itself on a USB stick")
def symlink_on_stick(scene: Scene, way: str) -> Acts:
    """A puller that is confined follows it nowhere out of the repository. Where the kernel cannot, what is there must
    have the digest; what is no plain file is not opened.
    """
    scene.by_stick()
    scene.offer()
    yield None
    secret, blob = scene.folder / "secret", scene.publisher.newest_blob()
    secret.write_bytes(bytes(100))
    blob.unlink()
    blob.symlink_to({"another": secret, "/dev/zero": "/dev/zero", "itself": blob}[way.split()[1]])
    held = landlock.version() > 0
    refused = "cannot fetch file://…: Permission denied" if held else "blob … ended after 100 of … bytes"
    yield refused if "another" in way else "cannot fetch file://…: there is no file"


@attack("symlink", "a pipe on a USB stick")
def pipe_on_stick(scene: Scene) -> Acts:
    """Opening it would wait for ever."""
    scene.by_stick()
    scene.offer()
    yield None
    timestamp = scene.publisher.path("timestamp")
    timestamp.unlink()
    os.mkfifo(timestamp)
    yield "is no repository, or is incomplete: metadata that must be there is not found"


@attack("wrong key", "a .maas that nobody signed", "a .maas that somebody else signed")
def unsigned_file(scene: Scene, way: str) -> Acts:
    """A file needs the signature of the publisher, as the repository does."""
    _brought(scene)
    yield None
    keys = scene.publisher.keys
    sign = None if "nobody" in way else lambda data: scene.publisher.sign_bundle(data, keys["snapshot"])
    scene.brought = make_bundle(scene.folder / "evil.maas", version="1.1.0", seed=4, sign=sign)
    yield "the bundle is not signed" if sign is None else "0 of the 1 keys it takes have signed"


@attack("threshold not met", "one key twice on a .maas", signs=True)
def one_key_twice_on_file(scene: Scene) -> Acts:
    """The targets role takes two."""
    publisher = scene.publisher
    second = publisher.need_two("targets")
    publisher.release()
    publisher.add_signature("targets", second)
    meta = publisher.snapshot.meta["targets.json"]
    meta.hashes = meta.length = None
    publisher.release("snapshot")
    scene.look()
    both = (publisher.keys["targets"], second)
    scene.brought = make_bundle(
        scene.folder / "usb.maas", version="1.1.0", seed=3, sign=lambda data: publisher.sign_bundle(data, *both)
    )
    yield None
    twice = (both[0], both[0])
    scene.brought = make_bundle(
        scene.folder / "evil.maas", version="1.1.0", seed=3, sign=lambda data: publisher.sign_bundle(data, *twice)
    )
    yield "1 of the 2 keys it takes have signed"


@attack("rollback", "an older .maas")
def older_file(scene: Scene) -> Acts:
    """Signed, and not newer than what runs."""
    _brought(scene)
    yield None
    scene.brought = make_bundle(scene.folder / "old.maas", version="0.9.0", sign=scene.publisher.sign_bundle)
    yield "offered is 0.9.0, active is 1.0.0: only a newer version replaces it"


@attack("tampered blob", "in a .maas")
def tampered_file(scene: Scene) -> Acts:
    """The signature is of the manifest, and the manifest names every digest."""
    _brought(scene)
    yield None
    _zipped(scene, lambda entries: entries.update({_model(entries): bytes(len(entries[_model(entries)]))}))
    yield "does not match its digest: the file is damaged"


@attack("truncated blob", "a .maas that was cut")
def truncated_file(scene: Scene) -> Acts:
    """A stick that was pulled out too early."""
    honest = _brought(scene)
    yield None
    scene.brought = scene.folder / "cut.maas"
    scene.brought.write_bytes(honest.read_bytes()[:-200])
    yield "is damaged, truncated or no bundle"


@attack("mix-and-match", "the blobs of another .maas")
def mixed_file(scene: Scene) -> Acts:
    """Both were signed."""
    _brought(scene)
    yield None
    other = make_bundle(scene.folder / "other.maas", version="1.2.0", seed=9, sign=scene.publisher.sign_bundle)
    with zipfile.ZipFile(other) as archive:
        blobs = {name: archive.read(name) for name in archive.namelist() if name.startswith("blobs/")}

    def swap(entries: Entries) -> None:
        for name in [name for name in entries if name.startswith("blobs/")]:
            del entries[name]
        entries.update(blobs)

    _zipped(scene, swap)
    yield "its blobs are not those of its manifest"


@attack("decompression bomb", "in a .maas", "of many entries in a .maas")
def bomb_in_archive(scene: Scene, way: str) -> Acts:
    """Entries are stored, so that no file is larger than it looks; and there are at most 256."""
    _brought(scene)
    yield None
    if way.startswith("of many"):
        _zipped(scene, lambda entries: entries.update({f"blobs/{number:064x}": b"" for number in range(300)}))
        yield "entries, at most 256 are read"
        return
    info = zipfile.ZipInfo("blobs/" + "0" * 64)
    _zipped(scene, lambda _: None, (info, bytes(200 << 20), zipfile.ZIP_DEFLATED))
    yield "is compressed; bundles are stored"


@attack("oversized manifest", "in a .maas", "a signature of two MB in a .maas")
def oversized_in_archive(scene: Scene, way: str) -> Acts:
    """What is read into memory has a bound."""
    _brought(scene)
    yield None
    name = "signature.json" if "signature" in way else "manifest.json"
    _zipped(scene, lambda entries: entries.update({name: bytes(2 << 20)}))
    yield f"{name} has more than"


@attack("unknown schema", "the manifest of a .maas", "the signature of a .maas")
def unknown_in_archive(scene: Scene, way: str) -> Acts:
    """Before the signature counts, and by itself."""
    _brought(scene)
    yield None
    if "manifest" in way:
        _zipped(scene, lambda entries: entries.update({"manifest.json": b'{"schema": 99}'}))
        yield "manifest has schema 99"
        return
    _zipped(scene, lambda entries: entries.update({"signature.json": b'{"signatures": [], "scheme": "new"}'}))
    yield "signature.json is not valid"
