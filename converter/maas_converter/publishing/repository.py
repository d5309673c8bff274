"""A TUF repository of bundles: static files that any web server or CDN can serve.

    DIR/metadata/N.root.json, N.targets.json, N.ROLE.json, N.snapshot.json, timestamp.json; root.json is for people
    DIR/targets/NAME/VERSION/<sha256>.manifest.json      the bundle: a TUF target
    DIR/targets/NAME/VERSION/<sha256>.delivery.json      how its blobs are stored, where not plainly: another one
    DIR/blobs/<sha256 of what is stored>                 shared by all bundles
    DIR/pending/                                         a change that waits for signatures; no device looks there

Only ``timestamp.json`` is ever replaced; everything else has a name of its own. So the repository *is* what its
timestamp leads to, and every write before that one is invisible: a crash in between changes nothing for a device.
Channels (NAME to CHANNEL to VERSION) and revoked versions (NAME to VERSION to reason) are fields of the signed
metadata of the role that holds the model.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, decode_delivery, encode_delivery
from maas_agent.bundle.manifest import NAME, digest_of
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, UsageError
from maas_converter.publishing import storage
from maas_converter.publishing.folder import (
    blob_file,
    locked,
    put_target,
    stored_at,
    target_file,
    target_path,
    write_new,
)
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.pending import discard, refuse_pending
from maas_converter.publishing.reading import load
from maas_converter.publishing.release import ONLINE, Missing, Released, release
from maas_converter.publishing.state import SOON, TARGETS, TOP, State, lifetime_days, now, said, tidy

Keys = Path | Sequence[Path] | KeyRing
"""A folder of keys, several, or a ring of them."""

_FOR_ALL = storage.PlainStorage()


class Published(msgspec.Struct, frozen=True):
    """What `publish` did: ``new_blobs`` were not in the repository yet, ``new_bytes`` is what they take as stored.

    ``waits`` names the roles that lack signatures: until they have them, no device sees it.
    """

    name: str
    version: str
    digest: str
    new_blobs: int
    new_bytes: int
    role: str = TARGETS
    waits: tuple[Missing, ...] = ()


class Revoked(msgspec.Struct, frozen=True):
    """What `revoke` did: where each channel that led to the version leads now, ``None`` if nowhere."""

    name: str
    version: str
    channels: dict[str, str | None]
    waits: tuple[Missing, ...] = ()


class Refreshed(msgspec.Struct, frozen=True):
    """What `refresh_repository` did: roles signed anew, roles due without a key, when each expires."""

    signed: tuple[str, ...]
    overdue: tuple[str, ...]
    expires: dict[str, datetime]


def init_repository(folder: Path, keys: Keys, thresholds: Mapping[str, int] | None = None) -> Released:
    """Make an empty repository that trusts every key in ``keys``, for as many signatures as ``thresholds`` say (1).

    Raises `DataError` if there is one already, `UsageError` if a threshold is higher than there are keys.
    """
    ring, wanted = ring_of(keys), dict(thresholds or {})
    root = Root(consistent_snapshot=True)
    for role in TOP:
        found = ring.public(role)
        for key in found:
            root.add_key(key, role)
        root.roles[role].threshold = _threshold(role, wanted.pop(role, 1), len(found))
    if wanted:
        raise UsageError(f"--threshold {next(iter(wanted))}: the roles are {', '.join(TOP)}")
    state = State(root, {TARGETS: Targets()}, Snapshot(), Timestamp())
    for role in TOP:
        state.role(role).version = 0  # the release makes it 1
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _refuse_existing(folder / "metadata")
        discard(folder)
        return release(folder, state, TOP, ring, "repo init")


def publish(
    bundle_path: Path, folder: Path, keys: Keys, channel: str = "stable", storing: storage.Storage = _FOR_ALL
) -> Published:
    """Add a bundle to the repository and point ``channel`` at it; ``storing`` says how, if not for everybody.

    The same bundle again changes nothing, or moves the channel. Raises `DataError` if its name and version are taken
    by another bundle, or were revoked: a version means one thing for ever, or no device could tell what it runs.
    """
    if not NAME.fullmatch(channel):
        raise DataError(f"{channel!r} is no name for a channel: use lower-case letters, digits, '.', '_' and '-'")
    ring = ring_of(keys)
    with locked(folder):
        state = load(folder)
        with open_bundle(bundle_path) as bundle:
            name, version = bundle.manifest.name, bundle.manifest.version
            role = state.role_of(name)
            _refuse_another(bundle, state.targets[role])
            refuse_pending(folder)
            ring.required(role, state.trust(role)[0])  # before anything is written
            is_new = target_path(name, version) not in state.targets[role].targets
            if is_new:
                added, kept = _add_blobs(folder, bundle, storing)
                put_target(folder, state.targets[role], target_path(name, version), bundle.manifest_bytes)
                delivery = storage.delivery_of(kept, storing.recipients(name, version))
                if delivery is not None:
                    path = target_path(name, version, "delivery")
                    put_target(folder, state.targets[role], path, encode_delivery(delivery))
            else:
                added = _restore(folder, bundle, state.targets[role])
            waits: tuple[Missing, ...] = ()
            if _point(state.targets[role], name, channel, version) or is_new:
                waits = release(folder, state, (role, *ONLINE), ring, f"publish {name} {version}").waits
            return Published(name, version, bundle.digest, len(added), sum(added), role, waits)


def revoke(
    name: str, version: str, folder: Path, keys: Keys, reason: str = "", channel_to: str | None = None
) -> Revoked:
    """Take a version back for good: no device installs it any more, and none goes back to it.

    Channels that lead to it lead to ``channel_to`` then, else to the newest version below it, else nowhere. Raises
    `DataError` if there is no such version.
    """
    ring = ring_of(keys)
    with locked(folder):
        state = load(folder)
        role = state.role_of(name)
        targets = state.targets[role]
        if version in said(targets, "revoked", name):
            raise DataError(f"{name} {version} is revoked already: {said(targets, 'revoked', name)[version]}")
        if target_path(name, version) not in targets.targets:
            raise DataError(f"there is no {name} {version} to revoke; there are {_listed(_versions(targets, name))}")
        refuse_pending(folder)
        for file in ("manifest", "delivery"):
            targets.targets.pop(target_path(name, version, file), None)
        left = _versions(targets, name)
        if channel_to is not None and channel_to not in left:
            raise DataError(f"--channel-to {channel_to}: there is no such version; there are {_listed(left)}")
        moved = _moved(targets, name, version, channel_to or _newest_below(version, left))
        said(targets, "revoked", name)[version] = reason or "its publisher took it back"
        tidy(targets)
        waits = release(folder, state, (role, *ONLINE), ring, f"revoke {name} {version}").waits
        return Revoked(name, version, moved, waits)


def refresh_repository(folder: Path, keys: Keys) -> Refreshed:
    """Sign the timestamp anew, and whatever else expires soon and has its key in ``keys``; made for cron."""
    ring = ring_of(keys)
    with locked(folder):
        state = load(folder)
        due = [name for name in state.names if name == "timestamp" or _is_due(state, name)]
        there = [name for name in due if name in ONLINE or _can_sign(state, name, ring)]
        if any(name not in ONLINE for name in there) and "snapshot" not in there:
            there.insert(-1, "snapshot")  # it states the version of the targets
        overdue = tuple(name for name in due if name not in there)
        release(folder, state, there, ring, "repo refresh")
        expires = {name: state.role(name).expires for name in state.names}
        return Refreshed(tuple(there), overdue, expires)


def _can_sign(state: State, name: str, ring: KeyRing) -> bool:
    keyids, threshold = state.trust(name)
    return len(ring.signers(name, keyids)) >= threshold


def ring_of(keys: Keys) -> KeyRing:
    """``keys`` as a ring."""
    return keys if isinstance(keys, KeyRing) else KeyRing(keys)


def _add_blobs(
    folder: Path, bundle: Bundle, storing: storage.Storage
) -> tuple[list[int], dict[str, storage.StoredBlob]]:
    """Store what is not there; the sizes of what was added, and how each blob is kept."""
    kept = {digest: storing.keep(digest, bundle.blob(digest)) for digest in bundle.manifest.blobs()}
    added = [len(each.data) for each in kept.values() if write_new(blob_file(folder, each.digest), each.data)]
    return added, kept


def _restore(folder: Path, bundle: Bundle, targets: Targets) -> list[int]:
    """Bring back what a published bundle has lost, if it can be made again (what is sealed cannot); the sizes."""
    known = targets.targets.get(target_path(bundle.manifest.name, bundle.manifest.version, "delivery"))
    blobs = dict[str, DeliveredBlob]()
    if known is not None:
        path = stored_at(folder, known)
        blobs = decode_delivery(path.read_bytes()).blobs if path.is_file() else blobs
    added = list[int]()
    for digest in bundle.manifest.blobs():
        stored = blobs.get(digest)
        if stored is not None and stored.form != "zlib":
            continue
        data = bundle.blob(digest) if stored is None else storage.compressed(bundle.blob(digest)) or b""
        name = digest if stored is None else stored.stored
        if digest_of(data) == name and write_new(blob_file(folder, name), data):
            added.append(len(data))
    own = target_path(bundle.manifest.name, bundle.manifest.version)
    write_new(target_file(folder, own, bundle.digest), bundle.manifest_bytes)
    return added


def _point(targets: Targets, name: str, channel: str, version: str) -> bool:
    """Let a channel lead to a version; whether it did not before."""
    channels = said(targets, "channels", name)
    changed = channels.get(channel) != version
    channels[channel] = version
    return changed


def _moved(targets: Targets, name: str, version: str, goal: str | None) -> dict[str, str | None]:
    channels = said(targets, "channels", name)
    led = [channel for channel, leads_to in channels.items() if leads_to == version]
    for channel in led:
        if goal is None:
            del channels[channel]
        else:
            channels[channel] = goal
    return dict.fromkeys(led, goal)


def _refuse_existing(metadata: Path) -> None:
    # What an interrupted init left (version 1, no timestamp) may be written over: no device has seen it.
    there = any(path.name.partition(".")[0] not in ("1", "root") for path in metadata.glob("*.json"))
    if there or (metadata / "timestamp.json").exists():
        raise DataError(f"{metadata.parent} is a repository already")


def _refuse_another(bundle: Bundle, targets: Targets) -> None:
    name, version = bundle.manifest.name, bundle.manifest.version
    revoked = targets.unrecognized_fields.get("revoked", {}).get(name, {})
    if version in revoked:
        raise DataError(f"{name} {version} was revoked ({revoked[version]}): give this bundle a new version")
    known = targets.targets.get(target_path(name, version))
    if known is not None and known.hashes["sha256"] != bundle.digest:
        raise DataError(f"{name} {version} is published already, with other content: give this bundle a new version")


def _threshold(role: str, wanted: int, count: int) -> int:
    if not 1 <= wanted <= count:
        raise UsageError(f"--threshold {role}={wanted}: there are {count} keys of {role}")
    return wanted


def _versions(targets: Targets, name: str) -> list[str]:
    paths = (path.split("/") for path in targets.targets)
    versions = [parts[1] for parts in paths if parts[0] == name and parts[-1] == "manifest.json"]
    return sorted(versions, key=parse_version)


def _newest_below(version: str, left: list[str]) -> str | None:
    below = [each for each in left if parse_version(each) < parse_version(version)]
    return below[-1] if below else None


def _listed(versions: list[str]) -> str:
    return ", ".join(versions[-10:]) or "none"


def _is_due(state: State, name: str) -> bool:
    """Whether it expires soon, or is signed by keys that count no more."""
    return name in state.outdated or bool(state.role(name).expires - now() < timedelta(days=lifetime_days(name)) * SOON)
