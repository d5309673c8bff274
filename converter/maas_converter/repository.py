"""A TUF repository of bundles: static files that any web server or CDN can serve.

    DIR/metadata/N.root.json, N.targets.json, N.snapshot.json, timestamp.json    and root.json, a copy for people
    DIR/targets/NAME/VERSION/<sha256>.manifest.json                              the only kind of TUF target
    DIR/blobs/<sha256>                                                           shared by all bundles

Only ``timestamp.json`` is ever replaced; everything else has a name of its own. So the repository *is* what its
timestamp leads to, and every write before that one is invisible: a crash in between changes nothing for a device.
Channels (NAME to CHANNEL to VERSION) are a field of the signed targets metadata.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from maas_agent.bundle.archive import Bundle, open_bundle
from maas_agent.bundle.manifest import NAME, digest_of
from maas_agent.errors import DataError, NoInputError
from maas_agent.files import write_durably
from maas_converter.keys import ROLES, load_signer

LIFETIME_DAYS = {"root": 365, "targets": 90, "snapshot": 30, "timestamp": 7}
"""How long metadata is valid. A device that sees it expired refuses it: it may be an old copy, replayed.

The timestamp bounds how long an attacker can hide an update, and how long ``repo refresh`` may not run.
"""

_SOON = 1 / 3
"""Metadata with less than this part of its lifetime left is signed anew by a refresh."""

Signers = dict[str, CryptoSigner]


class Published(msgspec.Struct, frozen=True):
    """What `publish` did: ``new_blobs`` were not in the repository yet, ``new_bytes`` is what they take."""

    name: str
    version: str
    digest: str
    new_blobs: int
    new_bytes: int


class Refreshed(msgspec.Struct, frozen=True):
    """What `refresh_repository` did: roles signed anew, roles due without a key, when each expires."""

    signed: tuple[str, ...]
    overdue: tuple[str, ...]
    expires: dict[str, datetime]


class _Roles(msgspec.Struct):
    """The metadata the timestamp leads to; mutable, for it becomes the next one."""

    root: Root
    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp


def init_repository(folder: Path, keys: Path) -> None:
    """Make an empty repository; raises `DataError` if there is one already."""
    signers = {role: load_signer(keys, role) for role in ROLES}
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _refuse_existing(folder / "metadata")
        roles = _Roles(Root(consistent_snapshot=True), Targets(), Snapshot(), Timestamp())
        for role, signer in signers.items():
            roles.root.add_key(signer.public_key, role)
            getattr(roles, role).version = 0  # `_release` makes it 1
        _release(folder, roles, signers, ROLES)


def publish(bundle_path: Path, folder: Path, keys: Path, channel: str = "stable") -> Published:
    """Add a bundle to the repository and point ``channel`` at it.

    The same bundle again changes nothing, or moves the channel. Raises `DataError` if its name and version are taken
    by another bundle: a version means one thing for ever, or no device could tell what it runs.
    """
    if not NAME.fullmatch(channel):
        raise DataError(f"{channel!r} is no name for a channel: use lower-case letters, digits, '.', '_' and '-'")
    with _locked(folder):
        roles = _load(folder)
        signers = _signers(keys, roles.root, ("targets", "snapshot", "timestamp"))
        with open_bundle(bundle_path) as bundle:
            _refuse_another(bundle, roles.targets)
            added = [size for digest, size in bundle.manifest.blobs().items() if _add_blob(folder, bundle, digest)]
            _write_new(_target_file(folder, bundle), bundle.manifest_bytes)
            if _offer(bundle, roles.targets, channel):
                _release(folder, roles, signers, ("targets", "snapshot", "timestamp"))
            name, version = bundle.manifest.name, bundle.manifest.version
            return Published(name, version, bundle.digest, len(added), sum(added))


def refresh_repository(folder: Path, keys: Path) -> Refreshed:
    """Sign the timestamp anew, and whatever else expires soon and has its key in ``keys``; made for cron."""
    with _locked(folder):
        roles = _load(folder)
        due = [role for role in ROLES if role == "timestamp" or _expires_soon(getattr(roles, role), role)]
        there = [role for role in due if role not in ("root", "targets") or (keys / f"{role}.pem").exists()]
        if "targets" in there and "snapshot" not in there:
            there.insert(-1, "snapshot")  # it states the version of the targets
        _release(folder, roles, _signers(keys, roles.root, there), there)
        expires = {role: getattr(roles, role).expires for role in ROLES}
        return Refreshed(tuple(there), tuple(role for role in due if role not in there), expires)


def _release(folder: Path, roles: _Roles, signers: Signers, which: Iterable[str]) -> None:
    """Write the next version of these roles, what is referred to before what refers to it; the timestamp last."""
    metadata = folder / "metadata"
    metadata.mkdir(exist_ok=True)
    for role in (role for role in ROLES if role in which):
        signed = getattr(roles, role)
        signed.version += 1
        signed.expires = _now() + timedelta(days=LIFETIME_DAYS[role])
        data = _signed_bytes(signed, signers[role])
        write_durably(metadata / ("timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"), data)
        if role == "targets":
            roles.snapshot.meta["targets.json"] = MetaFile.from_data(signed.version, data, ["sha256"])
        elif role == "snapshot":
            roles.timestamp.snapshot_meta = MetaFile.from_data(signed.version, data, ["sha256"])
        elif role == "root":
            write_durably(metadata / "root.json", data)


def _load(folder: Path) -> _Roles:
    """What the timestamp leads to; higher versions that lie there were never released."""
    metadata = folder / "metadata"
    versions = [path.name.partition(".")[0] for path in metadata.glob("*.root.json")]
    newest = max((int(version) for version in versions if version.isdecimal()), default=None)
    if newest is None or not (metadata / "timestamp.json").exists():
        raise NoInputError(f"{folder} is no repository: 'maas-converter repo init' makes one")
    timestamp = _read(metadata / "timestamp.json", Timestamp)
    snapshot = _read(metadata / f"{timestamp.snapshot_meta.version}.snapshot.json", Snapshot)
    targets = _read(metadata / f"{snapshot.meta['targets.json'].version}.targets.json", Targets)
    return _Roles(_read(metadata / f"{newest}.root.json", Root), targets, snapshot, timestamp)


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        signed = Metadata[Any].from_bytes(path.read_bytes()).signed
    except (OSError, RepositoryError) as error:
        raise DataError(f"the repository is damaged, {path} cannot be read: {error}") from None
    if not isinstance(signed, kind):
        raise DataError(f"the repository is damaged, {path} holds {signed.type} metadata")
    return signed


def _signers(keys: Path, root: Root, roles: Iterable[str]) -> Signers:
    signers = {role: load_signer(keys, role) for role in roles}
    for role, signer in signers.items():
        if signer.public_key.keyid not in root.roles[role].keyids:
            raise DataError(f"{keys / role}.pem is not a {role} key of this repository")
    return signers


def _signed_bytes(signed: Any, signer: CryptoSigner) -> bytes:
    metadata = Metadata[Any](signed)
    metadata.sign(signer)
    return metadata.to_bytes()


def _refuse_existing(metadata: Path) -> None:
    # What an interrupted init left (version 1, no timestamp) may be written over: no device has seen it.
    if any(path.name.partition(".")[0] not in ("1", "root") for path in metadata.glob("*.json")):
        raise DataError(f"{metadata.parent} is a repository already")


def _refuse_another(bundle: Bundle, targets: Targets) -> None:
    known = targets.targets.get(_target_path(bundle))
    if known is not None and known.hashes["sha256"] != bundle.digest:
        name, version = bundle.manifest.name, bundle.manifest.version
        raise DataError(f"{name} {version} is published already, with other content: give this bundle a new version")


def _offer(bundle: Bundle, targets: Targets, channel: str) -> bool:
    """Put the bundle and its channel into ``targets``; return whether that changed anything."""
    path, model = _target_path(bundle), bundle.manifest.name
    channels = targets.unrecognized_fields.setdefault("channels", {}).setdefault(model, {})
    changed = path not in targets.targets or channels.get(channel) != bundle.manifest.version
    targets.targets[path] = TargetFile.from_data(path, bundle.manifest_bytes, ["sha256"])
    channels[channel] = bundle.manifest.version
    return changed


def _add_blob(folder: Path, bundle: Bundle, digest: str) -> bool:
    return _write_new(folder / "blobs" / digest, bundle.blob(digest))


def _write_new(path: Path, data: bytes) -> bool:
    """Write ``path`` unless it has this content already; return whether it was written."""
    if path.exists() and digest_of(path.read_bytes()) == digest_of(data):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)
    return True


def _target_path(bundle: Bundle) -> str:
    return f"{bundle.manifest.name}/{bundle.manifest.version}/manifest.json"


def _target_file(folder: Path, bundle: Bundle) -> Path:
    return folder / "targets" / bundle.manifest.name / bundle.manifest.version / f"{bundle.digest}.manifest.json"


def _expires_soon(signed: Root | Targets | Snapshot | Timestamp, role: str) -> bool:
    return bool(signed.expires - _now() < timedelta(days=LIFETIME_DAYS[role]) * _SOON)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time; another one waits. A full or read-only disk becomes a sentence."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        raise NoInputError(f"there is no repository {folder}: 'maas-converter repo init' makes one") from None
    except OSError as error:
        raise DataError(f"cannot write to the repository {folder}: {error.strerror}") from None
    with os.fdopen(descriptor, "w"):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        except OSError as error:
            raise DataError(f"cannot write to the repository {folder}: {error.strerror or error}") from None
