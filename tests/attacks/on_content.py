"""Attacks by who may sign some things and not others, or signs what makes no sense."""

import zlib
from collections.abc import Callable, Iterator

import msgspec
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, Delivery
from maas_agent.bundle.manifest import digest_of
from tests.attacks.registry import attack
from tests.attacks.scene import Scene
from tests.bundles import make_bundle

Acts = Iterator[str | None]
Edit = Callable[[dict], object]  # type: ignore[type-arg]
_PATH = "digits/1.1.0/manifest.json"
_NOT_TAKEN = (
    "channel stable leads to digits 1.1.0, which the repository does not offer in a form that this device takes"
)
_DEEP = b"[" * 100_000


@attack("revoked", "a version that its channel leads to all the same", signs=True)
def revoked_and_offered(scene: Scene) -> Acts:
    """Revoking counts more than offering."""
    scene.offer()
    yield None
    offered = scene.publisher.targets.targets[_PATH]
    scene.publisher.revoke("1.1.0", "it leaks")
    scene.publisher.targets.targets[_PATH] = offered
    scene.publisher.release()
    yield "channel stable leads to digits 1.1.0, which is revoked: it leaks"


@attack("revoked", "a file of a revoked version", signs=True)
def revoked_file(scene: Scene) -> Acts:
    """Signed while it was good, and brought by hand."""
    publisher = scene.publisher
    scene.brought = make_bundle(scene.folder / "usb.maas", version="1.1.0", seed=3, sign=publisher.sign_bundle)
    yield None
    publisher.revoke("1.1.0", "it leaks")
    publisher.release()
    scene.look()
    yield "digits 1.1.0 is revoked: it leaks"


def _sign_manifest(scene: Scene, edit: Edit) -> str:
    """Sign an edited manifest of 1.1.0 under its path; return its digest."""
    path = make_bundle(scene.folder / "edited.maas", version="1.1.0", seed=3)
    with open_bundle(path) as bundle:
        document = msgspec.json.decode(bundle.manifest_bytes)
    edit(document)
    data = msgspec.json.encode(document)
    scene.publisher.add(_PATH, data)
    scene.publisher.release()
    return digest_of(data)


@attack("unknown schema", "manifest", signs=True)
def unknown_manifest(scene: Scene) -> Acts:
    """A device that skipped what it does not know would answer wrongly without a word."""
    scene.offer()
    yield None
    _sign_manifest(scene, lambda manifest: manifest.update(schema=99))
    yield "digits 1.1.0: manifest has schema 99, this program reads …: update maas-edge"


@attack("unknown schema", "delivery", signs=True)
def unknown_delivery(scene: Scene) -> Acts:
    """Likewise."""
    scene.offer()
    yield None
    scene.publisher.add("digits/1.1.0/delivery.json", b'{"schema": 99, "blobs": {}}')
    scene.publisher.release()
    yield "digits 1.1.0: the delivery has schema 99, this program reads 1: update maas-edge"


@attack("unknown schema", "TUF 2.0", signs=True)
def unknown_specification(scene: Scene) -> Acts:
    """The next TUF may mean something else by the same fields."""
    scene.offer()
    yield None
    scene.publisher.timestamp.spec_version = "2.0.0"
    scene.publisher.release("timestamp")
    yield "the metadata of … is not to be trusted: …version"


@attack("unknown schema", "channels", "revoked versions", signs=True)
def unknown_fields(scene: Scene, way: str) -> Acts:
    """The publisher's own fields in TUF's metadata."""
    scene.offer()
    yield None
    field = "channels" if way == "channels" else "revoked"
    scene.publisher.targets.unrecognized_fields[field] = {"digits": ["1.1.0"]}
    scene.publisher.release()
    yield f"the repository's {way} are not readable"


@attack("oversized manifest", "stated in the targets", signs=True)
def oversized(scene: Scene) -> Acts:
    """Nothing is fetched: it would be read into memory."""
    scene.offer()
    yield None
    scene.publisher.targets.targets[_PATH].length = 1 << 30
    scene.publisher.release()
    yield _NOT_TAKEN


@attack("oversized manifest", "more labels than a mebibyte holds", signs=True)
def oversized_honestly(scene: Scene) -> Acts:
    """Really there, and really that large."""
    scene.offer()
    yield None
    _sign_manifest(scene, lambda manifest: manifest["lineage"].update(source="x" * (2 << 20)))
    yield _NOT_TAKEN


@attack("decompression bomb", "a blob of 200 MB", "a bomb with a signed size", signs=True)
def bomb(scene: Scene, way: str) -> Acts:
    """Expanding stops at the size that the signed manifest states."""
    scene.publisher.publish("1.1.0", seed=3)
    blobs = scene.publisher.compress("1.1.0")
    scene.publisher.release()
    yield None
    plain = max(blobs, key=lambda digest: blobs[digest].size)
    packed = zlib.compress(bytes(200 << 20), 9)
    if way.endswith("size"):
        packed = zlib.compress(zlib.compress(bytes(200 << 20), 9), 9)
    stored = DeliveredBlob(scene.publisher.add_blob(packed), len(packed), "zlib")
    scene.publisher.deliver(Delivery(blobs=blobs | {plain: stored}), "1.1.0")
    scene.publisher.release()
    yield "digits 1.1.0: blob … does not expand to the … bytes that its manifest states"


_EVIL = "../../../../evil"
_TRAVERSALS: dict[str, tuple[Edit, str]] = {
    "a blob's digest in the manifest": (
        lambda manifest: manifest["stages"][0].update(blob=_EVIL),
        "digits 1.1.0: manifest is not valid: ",
    ),
    "the model's name in the manifest": (
        lambda manifest: manifest.update(name=_EVIL),
        "digits 1.1.0: manifest is not valid: ",
    ),
    "the version in the manifest": (
        lambda manifest: manifest.update(version=_EVIL),
        f"digits 1.1.0: manifest: '{_EVIL}' is no version",
    ),
}


@attack("path traversal", *_TRAVERSALS, signs=True)
def traversal_in_manifest(scene: Scene, way: str) -> Acts:
    """What becomes a path is held to a pattern first."""
    scene.offer()
    yield None
    edit, reason = _TRAVERSALS[way]
    _sign_manifest(scene, edit)
    yield reason


@attack("path traversal", "a digest in the targets", signs=True)
def traversal_in_digest(scene: Scene) -> Acts:
    """It would be the name of a file."""
    scene.offer()
    yield None
    scene.publisher.targets.targets[_PATH] = TargetFile(10, {"sha256": _EVIL}, _PATH)
    scene.publisher.release()
    yield _NOT_TAKEN


@attack("path traversal", "a target path", "a channel", signs=True)
def traversal_in_path(scene: Scene, way: str) -> Acts:
    """No version is called that."""
    scene.offer()
    yield None
    fields, targets = scene.publisher.targets.unrecognized_fields, scene.publisher.targets.targets
    if way == "a target path":
        targets[f"digits/{_EVIL}/manifest.json"] = targets.pop(_PATH)
    fields["channels"]["digits"]["stable"] = _EVIL
    scene.publisher.release()
    yield f"the repository's channels are not readable: '{_EVIL}' is no version"


@attack("path traversal", "a stored blob's digest in the delivery", signs=True)
def traversal_in_delivery(scene: Scene) -> Acts:
    """Likewise."""
    scene.offer()
    yield None
    document = {"schema": 1, "blobs": {"0" * 64: {"stored": _EVIL, "size": 9, "form": "zlib"}}}
    scene.publisher.add("digits/1.1.0/delivery.json", msgspec.json.encode(document))
    scene.publisher.release()
    yield "digits 1.1.0: the delivery is not valid: "


@attack("path traversal", "a delegated role's name", signs=True)
def traversal_in_role(scene: Scene) -> Acts:
    """It becomes a file's name, and a part of an address."""
    scene.offer()
    yield None
    scene.publisher.delegate("team", "digits/*/*")
    delegations = scene.publisher.targets.delegations
    assert delegations is not None and delegations.roles is not None
    role = delegations.roles.pop("team")
    role.name = _EVIL
    delegations.roles[_EVIL] = role
    scene.publisher.release()
    yield f"the metadata of … is not to be trusted: the name of a delegated role, '{_EVIL}', is none"


@attack("foreign delegation", "a role called like a top-level one", signs=True)
def delegated_timestamp(scene: Scene) -> Acts:
    """Its file would take the place of the timestamp on the device, and with it the memory of what was newest."""
    scene.offer()
    yield None
    scene.publisher.delegate("timestamp", "digits/*/*")
    scene.publisher.roles.pop("timestamp")
    scene.publisher.release()
    yield "the metadata of … is not to be trusted: "


@attack("foreign delegation", "more roles than a device asks for", signs=True)
def too_many_roles(scene: Scene) -> Acts:
    """Each costs a request."""
    scene.offer()
    yield None
    for number in range(40):
        scene.publisher.delegate(f"role-{number}", "digits/*/*", terminating=False)
    scene.publisher.release()
    yield "the metadata of … is not to be trusted: more than 32 roles are delegated"


@attack("foreign delegation", "another team's key", signs=True)
def key_of_another_team(scene: Scene) -> Acts:
    """A team signs what was delegated to another one."""
    publisher = scene.publisher
    publisher.delegate("team", "digits/1.1.0/*")
    publisher.publish("1.1.0", role="team", seed=3)
    publisher.point("1.1.0")
    publisher.release()
    yield None
    publisher.keys["team"] = CryptoSigner.generate_ed25519()
    publisher.release()
    publisher.signed.remove(digest_of(publisher.path("team").read_bytes()))
    yield "the metadata of … is not to be trusted: team was signed by 0/1 keys"


@attack("lying manifest", "another model", "another version", signs=True)
def other_than_its_path(scene: Scene, way: str) -> Acts:
    """The rules chose a path; what lies there must be what the path says."""
    scene.offer()
    yield None
    lie = {"name": "faces"} if way == "another model" else {"version": "9.9.9"}
    _sign_manifest(scene, lambda manifest: manifest.update(lie))
    says = "faces 1.1.0" if way == "another model" else "digits 9.9.9"
    yield f"offered as digits 1.1.0, but its manifest says {says}"


@attack("lying manifest", "answers that no device gets", signs=True)
def lying_golden(scene: Scene) -> Acts:
    """The self-test, in a child, before it takes over."""
    scene.offer()
    yield None
    _replace(scene, off_by=0.5)
    yield "the self-test failed on cpu: the golden samples deviate by 0.5"


@attack("lying manifest", "a model of other bytes", signs=True)
def lying_model(scene: Scene) -> Acts:
    """Nonsense in the place of weights: it ends its child, and no more."""
    scene.offer()
    yield None
    _replace(scene, swap=b"TFL3" + bytes(range(256)) * 40)
    yield "the self-test failed on cpu: "


def _replace(scene: Scene, **made: object) -> None:
    """Another bundle under the version that was offered."""
    path = make_bundle(scene.folder / "bad.maas", version="1.1.0", seed=3, **made)  # type: ignore[arg-type]
    scene.publisher.publish_file(path)
    scene.publisher.release()


@attack("disk filling", "a model larger than the bound", signs=True)
def disk_filling(scene: Scene) -> Acts:
    """It is refused before a byte of it is fetched."""
    scene.configure("[store]", "[store]\nmax_bytes = 10_000_000")
    scene.offer()
    yield None
    # The manifest stays: there may be room for the rest of it tomorrow.
    scene.kept.add(_sign_manifest(scene, lambda manifest: manifest["stages"][0].update(size=(1 << 31) - 1)))
    yield "digits 1.1.0 takes … MB more, and … of the … MB that store.max_bytes allows are taken"


@attack("malformed JSON", "a deep manifest", "a deep delivery", signs=True)
def deep(scene: Scene, way: str) -> Acts:
    """Nested a hundred thousand times: a parser that recurses would crash."""
    scene.offer()
    yield None
    document = b'{"schema": 1, "x": ' + _DEEP
    scene.publisher.add(f"digits/1.1.0/{way.split()[2]}.json", document)
    scene.publisher.release()
    yield "digits 1.1.0: …is not valid: "
