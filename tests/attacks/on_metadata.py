"""Attacks on what is signed: old, mixed, expired and falsely signed metadata."""

import shutil
from collections.abc import Iterator

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__

from maas_agent.bundle.manifest import digest_of
from tests.attacks.attacker import Attacker
from tests.attacks.registry import attack
from tests.attacks.scene import Scene
from tests.clocks import at_the_epoch, wrong_clock

Acts = Iterator[str | None]
_NOT_TRUSTED = "the metadata of … is not to be trusted: "
_REPLAYED = "the repository's targets metadata is version …, and this device has seen version …: it is an old copy, "


@attack("rollback", "an old copy of everything")
def old_copy(scene: Scene) -> Acts:
    """Signatures are good, nothing has expired."""
    scene.offer()
    yield None
    scene.publisher.replace_by(scene.old)
    yield f"{_NOT_TRUSTED}New timestamp version 3 must be >= 4"


@attack("rollback", "an old copy, for a device that lost its metadata", "an old copy, all but its root lost")
def old_copy_for_a_forgetful_device(scene: Scene, way: str) -> Acts:
    """TUF's client has forgotten what it saw; the marks have not."""
    scene.offer()
    yield None
    scene.publisher.replace_by(scene.old)
    if way.endswith("lost"):
        for role in ("timestamp", "snapshot", "targets"):
            (scene.store / "tuf" / f"{role}.json").unlink()
    else:
        shutil.rmtree(scene.store / "tuf")
    yield _REPLAYED


@attack("rollback", "old targets in a new snapshot", signs=True)
def old_targets(scene: Scene) -> Acts:
    """A thief of the online keys signs a new snapshot of the old targets."""
    publisher = scene.publisher
    scene.offer()
    yield None
    publisher.snapshot.meta["targets.json"].version = 2
    publisher.release("snapshot")
    yield f"{_NOT_TRUSTED}Expected targets.json version"


@attack("rollback", "old targets in a new snapshot, metadata lost", signs=True)
def old_targets_for_a_forgetful_device(scene: Scene) -> Acts:
    """The same, and the device has lost its metadata."""
    publisher = scene.publisher
    scene.offer()
    yield None
    _sign_old_targets(publisher)
    shutil.rmtree(scene.store / "tuf")
    yield _REPLAYED


@attack("rollback", "a channel that leads back", signs=True)
def channel_back(scene: Scene) -> Acts:
    """A publisher may keep new devices off a version, and not lead old ones back below it."""
    scene.offer()
    yield None
    scene.publisher.point("0.9.0")
    scene.publisher.release()
    yield "offered is 0.9.0, active is 1.0.0: only a newer version replaces it"


@attack("freeze", "an old copy for ever")
def frozen(scene: Scene) -> Acts:
    """Nothing newer is shown; it is noticed as soon as the timestamp expires."""
    scene.offer()
    yield None
    scene.publisher.release("timestamp", expired=("timestamp",))
    yield "the repository's timestamp metadata expired on … must run 'maas-converter repo refresh'"
    scene.publisher.release()


@attack("freeze", "and the device's clock put back")
def frozen_clock(scene: Scene) -> Acts:
    """The clock says 1970; the newest time of signing that was seen is a floor for it."""
    scene.offer()
    yield None
    scene.publisher.release("timestamp", expired=("timestamp",))
    scene.restart(wrong_clock(scene.folder, at_the_epoch()))
    yield "the repository's timestamp metadata expired on …"
    scene.publisher.release()


@attack("mix-and-match", "snapshot of another time", "targets of another time")
def mixed(scene: Scene, way: str) -> Acts:
    """Each file was signed once; they never belonged together."""
    scene.offer()
    yield None
    role = way.split(maxsplit=1)[0]
    newest = scene.publisher.path(role)
    version = int(newest.name.split(".")[0])
    shutil.copy(scene.publisher.path(role, version - 1), newest)
    yield f"{_NOT_TRUSTED}Observed … does not match expected"


@attack("mix-and-match", "a manifest of another version", "blobs of another version")
def mixed_files(scene: Scene, way: str) -> Acts:
    """Under the name of the new one lies the old one, which was signed as well."""
    old = {path.name for path in (scene.publisher.folder / "blobs").iterdir()}
    digest = scene.offer(classes=400)
    yield None
    targets = scene.publisher.folder / "targets" / "digits"
    if way.startswith("a manifest"):
        shutil.copy(next((targets / "1.0.0").iterdir()), targets / "1.1.0" / f"{digest}.manifest.json")
        yield "blob … ended after …of…bytes"
        return
    largest = scene.publisher.largest()
    shutil.copy(scene.publisher.folder / "blobs" / min(old), largest)
    yield "blob … ended after …of…bytes"


@attack("mix-and-match", "a snapshot without a delegated role", signs=True)
def snapshot_without_role(scene: Scene) -> Acts:
    """A thief of the online keys hides a team's newest models."""
    publisher = scene.publisher
    publisher.delegate("team", "digits/1.1.0/*")
    publisher.publish("1.1.0", role="team", seed=3)
    publisher.point("1.1.0")
    publisher.release()
    yield None
    del publisher.snapshot.meta["team.json"]
    publisher.release("snapshot")
    yield f"{_NOT_TRUSTED}…team"


@attack("wrong key", "timestamp", "snapshot", "targets", "root")
def wrong_key(scene: Scene, role: str) -> Acts:
    """Signed by somebody, in the publisher's name."""
    publisher = scene.publisher
    scene.offer()
    yield None
    stranger, own = CryptoSigner.generate_ed25519(), publisher.keys[role]
    if role == "root":
        publisher.next_root(stranger)
    else:
        publisher.keys[role] = stranger
        _release_unseen(publisher, role)
    yield f"{_NOT_TRUSTED}{role} was signed by 0/1 keys"
    publisher.keys[role] = own
    publisher.release()


@attack("wrong key", "a whole repository of somebody else")
def foreign_repository(scene: Scene) -> Acts:
    """The same names, and higher versions."""
    scene.offer()
    yield None
    stranger = Attacker(scene.folder / "foreign" / "repository")
    stranger.publish("2.0.0")
    for _ in range(9):
        stranger.release()
    scene.publisher.replace_by(stranger.folder)
    yield f"{_NOT_TRUSTED}timestamp was signed by 0/1 keys"


@attack("wrong key", "the key of another role", signs=True)
def key_of_another_role(scene: Scene) -> Acts:
    """Whoever holds the online keys cannot publish with them."""
    publisher = scene.publisher
    scene.offer()
    yield None
    publisher.keys["targets"] = publisher.keys["snapshot"]
    _release_unseen(publisher, "targets")
    yield f"{_NOT_TRUSTED}targets was signed by 0/1 keys"


@attack("expired", "timestamp", "snapshot", "targets")
def expired(scene: Scene, role: str) -> Acts:
    """What has expired may be an old copy, replayed."""
    scene.offer()
    yield None
    scene.publisher.release(expired=(role,))
    yield f"the repository's {role} metadata expired on …"
    scene.publisher.release()


@attack("expired", "root")
def expired_root(scene: Scene) -> Acts:
    """By a clock that is two years ahead the root has expired too, and is named first."""
    scene.offer()
    yield None
    scene.restart(wrong_clock(scene.folder, 2 * 365 * 86_400))
    yield "the repository's root metadata expired on … (or this device's clock is wrong)"
    scene.restart({})


@attack("expired", "a delegated role")
def expired_team(scene: Scene) -> Acts:
    """Its models are not offered any more; others are."""
    publisher = scene.publisher
    publisher.delegate("team", "digits/1.1.0/*")
    publisher.publish("1.1.0", role="team", seed=3)
    publisher.point("1.1.0")
    publisher.release()
    yield None
    publisher.release(expired=("team",))
    yield "the repository's team metadata expired on …"
    publisher.release()


@attack("expired", "signed after it expired", signs=True)
def signed_too_late(scene: Scene) -> Acts:
    """A thief of the timestamp key says that it is 2099, so that everything else has expired by then."""
    scene.offer()
    yield None
    scene.publisher.signed_at = "2099-01-01T00:00:00Z"
    scene.publisher.release("timestamp")
    yield "the repository's timestamp was signed at 2099-01-01T00:00:00Z, after it expired: look at the signing clock"


@attack("threshold not met", "one of two keys")
def one_of_two(scene: Scene) -> Acts:
    """The root says that two must sign."""
    second, publisher = _offered_with_two_keys(scene), scene.publisher
    yield None
    publisher.release("targets", "snapshot")
    yield f"{_NOT_TRUSTED}targets was signed by 1/2 keys"
    _release_by_two(publisher, second)


@attack("threshold not met", "one key twice")
def one_key_twice(scene: Scene) -> Acts:
    """Two signatures by the same key are one."""
    _offered_with_two_keys(scene)
    yield None
    publisher = scene.publisher
    publisher.sign_twice("timestamp")
    yield f"{_NOT_TRUSTED}Failed to deserialize JSON: Multiple signatures found for keyid …"


@attack("threshold not met", "one key and a stranger's")
def one_key_and_a_strangers(scene: Scene) -> Acts:
    """A signature more, by a key that the root does not name."""
    second, publisher = _offered_with_two_keys(scene), scene.publisher
    yield None
    publisher.release("targets", "snapshot")
    publisher.sign_with("targets", publisher.keys["targets"], CryptoSigner.generate_ed25519())
    _bind(publisher)
    yield f"{_NOT_TRUSTED}targets was signed by 1/2 keys"
    _release_by_two(publisher, second)


@attack("key rotation skipped a version", "the root in between is missing")
def root_in_between_is_missing(scene: Scene) -> Acts:
    """From N the device cannot get to N+2: the keys of N+1 have to say who signs it."""
    _rotated_twice(scene)
    yield None
    scene.publisher.path("root", 2).unlink()
    yield f"{_NOT_TRUSTED}timestamp was signed by 0/1 keys"


@attack("key rotation skipped a version", "N+2 in the place of N+1")
def root_of_another_version(scene: Scene) -> Acts:
    """The file of N+2, served under the name of N+1."""
    _rotated_twice(scene)
    yield None
    shutil.copy(scene.publisher.path("root", 3), scene.publisher.path("root", 2))
    yield f"{_NOT_TRUSTED}root was signed by 0/1 keys"


@attack("key rotation skipped a version", "a number is left out", signs=True)
def root_number_left_out(scene: Scene) -> Acts:
    """Signed by the right key, and two higher than the last one."""
    publisher = scene.publisher
    scene.offer()
    yield None
    publisher.next_root(publisher.keys["root"], version=3, file=2)
    yield f"{_NOT_TRUSTED}Expected root version 2 instead got version 3"


@attack("key rotation skipped a version", "new keys that the old ones did not name")
def root_by_new_keys_only(scene: Scene) -> Acts:
    """The next root is signed by the keys that it names itself, and by no others."""
    publisher = scene.publisher
    scene.offer()
    yield None
    stranger = CryptoSigner.generate_ed25519()
    publisher.root.add_key(stranger.public_key, "root")
    publisher.next_root(stranger)
    yield f"{_NOT_TRUSTED}root was signed by 0/1 keys"


def _rotated_twice(scene: Scene) -> None:
    """Two rotations of root and timestamp since the device looked; then 1.1.0."""
    scene.publisher.rotate("root", "timestamp")
    scene.publisher.rotate("root", "timestamp")
    scene.offer()


def _offered_with_two_keys(scene: Scene) -> CryptoSigner:
    second = scene.publisher.need_two("targets")
    scene.publisher.publish("1.1.0", seed=3)
    _release_by_two(scene.publisher, second)
    return second


def _release_by_two(publisher: Attacker, second: CryptoSigner) -> None:
    publisher.release()
    publisher.add_signature("targets", second)
    _bind(publisher)


def _bind(publisher: Attacker) -> None:
    """Sign snapshot and timestamp anew, for the targets as they lie there."""
    meta = publisher.snapshot.meta["targets.json"]
    meta.hashes = meta.length = None
    publisher.release("snapshot")


def _release_unseen(publisher: Attacker, role: str) -> None:
    """Release, and do not take what ``role`` signs for signed rightly."""
    publisher.release()
    publisher.signed.remove(digest_of(publisher.path(role).read_bytes()))


def _sign_old_targets(publisher: Attacker) -> None:
    meta = publisher.snapshot.meta["targets.json"]
    meta.version, meta.hashes, meta.length = 2, None, None
    publisher.release("snapshot")
