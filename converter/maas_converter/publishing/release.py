"""Signing and writing the next version of some roles; and what waits for the signatures of others.

Only ``timestamp.json`` is ever replaced, and it is written when everything it leads to is there: so every write before
it is invisible. A new root is seen at once, and comes last: until then the old one stands, by whose keys everything
else of a rotation is signed too.
"""

from collections.abc import Callable, Container, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # it has no __all__
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp  # type: ignore[attr-defined]

from maas_agent.errors import DataError, NoInputError, UnavailableError, UsageError
from maas_agent.host.clock import is_set
from maas_agent.host.files import write_durably
from maas_converter.publishing.changes import changes
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.keys.known_roots import recognise, remember
from maas_converter.publishing.pending import Pending, discard, is_out, keep, metadata_of, waiting
from maas_converter.publishing.reading import load, newest_root, roots_of
from maas_converter.publishing.state import TARGETS, State, delegations_of, lifetime_days, now

ONLINE = ("snapshot", "timestamp")

Approve = Callable[[list[str]], None]
"""Told what a change does, in sentences; raises if it is not to be signed."""


class Missing(msgspec.Struct, frozen=True):
    """A role that lacks signatures: how many it has of those it takes."""

    role: str
    has: int
    takes: int


class Released(msgspec.Struct, frozen=True):
    """What came of a change: the roles that were signed; those that still ``wait`` for others, if it is not out yet."""

    signed: tuple[str, ...]
    waits: tuple[Missing, ...] = ()


def release(
    folder: Path,
    state: State,
    changed: Iterable[str],
    ring: KeyRing,
    what: str,
    of_others: Container[str] = (),
    present: KeyRing | None = None,
) -> Released:
    """Sign the next version of the ``changed`` roles and write them; or keep them until others have signed too.

    Raises `NoInputError` or `DataError` if no key for one of them is at hand, unless it is a role ``of_others``;
    `DataError` if the repository is not that of the keys, of a rotation those that are ``present``.
    """
    names = [name for name in state.names if name in set(changed)]
    before = _recognised(folder, present or ring)
    signed = {name: _next(state.role(name), name) for name in names if name not in ONLINE}
    for name, metadata in signed.items():
        _sign(metadata, name, state, before, ring, required=name not in of_others)
    waits = [lack for name, metadata in signed.items() if (lack := _lack(metadata, name, state, before)) is not None]
    if waits:
        keep(folder, Pending(what, list(signed), _versions(before)), signed)
        return Released(tuple(names), tuple(waits))
    online = ONLINE if signed or "snapshot" in names else ("timestamp",)
    _write(folder, state, signed, before, ring, online)
    _remember(folder, signed, ring)
    return Released((*signed, *online))


def waiting_changes(folder: Path) -> list[str]:
    """What the change that waits says; raises `UsageError` if none waits."""
    pending = _required(folder)
    return changes(_before(folder), {name: each.signed for name, each in metadata_of(folder, pending).items()})


def complete(folder: Path, ring: KeyRing, approve: Approve = lambda _changes: None) -> Released:
    """Add signatures to the change that waits, and release it if it has enough.

    ``approve`` gets what it changes, and raises if that must not be signed: it is read from the very metadata that are
    signed then, whoever else may write to the folder meanwhile.
    Raises `UsageError` if none waits, `DataError` if the repository has moved on since, `NoInputError` if no key at
    hand is of use.
    """
    pending = _required(folder)
    if is_out(folder, pending):
        discard(folder)
        return Released(tuple(pending.roles))
    before = _recognised(folder, ring)
    if _versions(before) != pending.made_from:
        raise DataError(
            f"the repository has changed since '{pending.what}' was made: drop it with --discard, do it again"
        )
    signed = metadata_of(folder, pending)
    approve(changes(before, {name: each.signed for name, each in signed.items()}))
    state = _after(before, signed)
    added = [name for name, metadata in signed.items() if _sign(metadata, name, state, before, ring, required=False)]
    waits = [lack for name, metadata in signed.items() if (lack := _lack(metadata, name, state, before)) is not None]
    if waits and not added:
        names = ", ".join(lack.role for lack in waits)
        raise NoInputError(f"no key here adds a signature that '{pending.what}' waits for: it takes keys of {names}")
    if waits:
        keep(folder, pending, signed)
        return Released(tuple(added), tuple(waits))
    _write(folder, state, signed, before, ring, ONLINE)
    _remember(folder, signed, ring)
    discard(folder)
    return Released((*signed, *ONLINE))


def _required(folder: Path) -> Pending:
    pending = waiting(folder)
    if pending is None:
        raise UsageError(f"nothing waits for signatures in {folder}")
    return pending


# ------------------------------------------------------------- signing


def _next(signed: Any, name: str) -> Metadata[Any]:
    signed.version += 1
    signed.expires = _when_signed() + timedelta(days=lifetime_days(name))
    return Metadata[Any](signed)


def _when_signed() -> datetime:
    """The present second; raises `UnavailableError` if the clock was never set: devices would refuse what it signs."""
    moment = now()
    if not is_set(moment.timestamp()):
        raise UnavailableError(
            f"this machine's clock says {moment:%Y-%m-%d %H:%M}: what is signed now has expired for every device; "
            "set the clock (timedatectl set-ntp true)"
        )
    return moment


def _sign(
    metadata: Metadata[Any], name: str, state: State, before: State | None, ring: KeyRing, *, required: bool = True
) -> bool:
    """Add every signature that a key at hand can make and that counts for somebody; whether one was new."""
    known = dict(metadata.signatures)
    keyids = dict.fromkeys(keyid for trusted in _trusts(name, state, before) for keyid in trusted[0])
    found: list[Signer] = list(ring.required(name, keyids)) if required else list(ring.signers(name, keyids))
    for signer in found:
        metadata.sign(signer, append=True)
    return metadata.signatures != known


def _trusts(name: str, state: State, before: State | None) -> list[tuple[list[str], int]]:
    """By whose keys a role is judged: the new root's, and of a rotation the old one's too."""
    trusts = [state.trust(name)]
    if before is not None and before.has(name) and before.trust(name) != trusts[0]:
        trusts.append(before.trust(name))
    return trusts


def _lack(metadata: Metadata[Any], name: str, state: State, before: State | None) -> Missing | None:
    """What is missing. A root has to convince both (TUF 5.3.4); of other roles the new keys count."""
    judges = [state, before] if name == "root" and before is not None else [state]
    for judge in judges:
        found = judge.signed(name, metadata)
        if not found:
            return Missing(name, len(found.signed), found.threshold)
    return None


# ------------------------------------------------------------- writing


def _write(
    folder: Path,
    state: State,
    signed: dict[str, Metadata[Any]],
    before: State | None,
    ring: KeyRing,
    online: tuple[str, ...],
) -> None:
    _require_online(state, ring)
    metadata = folder / "metadata"
    metadata.mkdir(exist_ok=True)
    _write_signed(metadata, state, signed)
    # First only where no device can have an older root, or the older keys are lost: then there is a moment in which
    # devices find new metadata that the root they have does not know.
    root_first = before is None or not _convinces(signed, state, before, ring)
    if root_first:
        _write_root(metadata, signed)
    _write_online(metadata, state, before, ring, online)
    if not root_first:
        _write_root(metadata, signed)


def _write_signed(metadata: Path, state: State, signed: dict[str, Metadata[Any]]) -> None:
    """Write all roles but the root, and name them in the snapshot."""
    for name, made in signed.items():
        if name != "root":
            data = made.to_bytes()
            write_durably(metadata / f"{made.signed.version}.{name}.json", data)
            # What was in it once stays in it (TUF 5.5.5), a role that is delegated no more as it was.
            state.snapshot.meta[f"{name}.json"] = MetaFile.from_data(made.signed.version, data, ["sha256"])


def _write_online(metadata: Path, state: State, before: State | None, ring: KeyRing, online: tuple[str, ...]) -> None:
    """Sign and write the snapshot, if it is among ``online``, then the timestamp that leads to it."""
    state.timestamp.unrecognized_fields["signed_at"] = f"{now():%Y-%m-%dT%H:%M:%SZ}"
    for name in online:
        made = _next(state.role(name), name)
        _sign(made, name, state, before, ring)
        data = made.to_bytes()
        write_durably(
            metadata / ("timestamp.json" if name == "timestamp" else f"{made.signed.version}.{name}.json"), data
        )
        if name == "snapshot":
            state.timestamp.snapshot_meta = MetaFile.from_data(made.signed.version, data, ["sha256"])


def _convinces(signed: dict[str, Metadata[Any]], state: State, before: State, ring: KeyRing) -> bool:
    """Whether whoever still has the old root will believe what is released now: it is signed by the old keys too."""
    for name, made in signed.items():
        if name != "root" and before.has(name) and not before.signed(name, made):
            return False
    trusts = ((name, *before.trust(name)) for name in ONLINE)
    return all(len(ring.signers(name, keyids)) >= threshold for name, keyids, threshold in trusts)


def _require_online(state: State, ring: KeyRing) -> None:
    """Raise before anything is written if the snapshot or the timestamp cannot be signed here."""
    for name in ONLINE:
        keyids, threshold = state.trust(name)
        if len(ring.required(name, keyids)) < threshold:
            raise NoInputError(f"{name} takes {threshold} keys, and there are fewer here")


def _write_root(metadata: Path, signed: dict[str, Metadata[Any]]) -> None:
    root = signed.get("root")
    if root is not None:
        write_durably(metadata / f"{root.signed.version}.root.json", root.to_bytes())
        write_durably(metadata / "root.json", root.to_bytes())


# ------------------------------------------------------------- before and after


def _before(folder: Path) -> State | None:
    """The repository as it is now; ``None`` before its first release."""
    metadata = folder / "metadata"
    if newest_root(metadata) is None or not (metadata / "timestamp.json").exists():
        return None
    return load(folder)


def _recognised(folder: Path, ring: KeyRing) -> State | None:
    """As `_before`; raises `DataError` if it is another repository than that of these keys."""
    before = _before(folder)
    if before is not None:
        recognise(folder, roots_of(folder, before.root.version), ring)
    return before


def _remember(folder: Path, signed: dict[str, Metadata[Any]], ring: KeyRing) -> None:
    if "root" in signed:
        remember(folder, signed["root"], ring)


def _after(before: State | None, signed: dict[str, Metadata[Any]]) -> State:
    """The state that the change leads to."""
    if before is None:
        snapshot, timestamp = Snapshot(), Timestamp()
        snapshot.version = timestamp.version = 0
        targets = {name: made.signed for name, made in signed.items() if name != "root"}
        return State(signed["root"].signed, targets, snapshot, timestamp)
    root = signed["root"].signed if "root" in signed else before.root
    targets = before.targets | {name: made.signed for name, made in signed.items() if name != "root"}
    kept = {*delegations_of(targets[TARGETS]), TARGETS}
    return State(
        root, {name: each for name, each in targets.items() if name in kept}, before.snapshot, before.timestamp
    )


def _versions(before: State | None) -> dict[str, int]:
    """What the change was made from: online roles may be refreshed meanwhile."""
    if before is None:
        return {}
    return {name: before.role(name).version for name in before.names if name not in ONLINE}
