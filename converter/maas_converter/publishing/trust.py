"""Whose word counts for what: delegating models to a role of their own, and changing the keys of any role."""

from pathlib import Path

import msgspec
from tuf.api.metadata import DelegatedRole, Delegations, Key, Root, Targets  # type: ignore[attr-defined]

from maas_agent.bundle.manifest import NAME
from maas_agent.errors import DataError, UsageError
from maas_converter.publishing.folder import locked
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.pending import refuse_pending
from maas_converter.publishing.reading import load
from maas_converter.publishing.release import ONLINE, Missing, release
from maas_converter.publishing.state import TARGETS, TOP, State, models_of, move


class ChangedRole(msgspec.Struct, frozen=True):
    """A role after the change: the ids of its keys, how many have to sign, and what still waits for signatures."""

    role: str
    keyids: tuple[str, ...]
    threshold: int
    waits: tuple[Missing, ...] = ()


def delegate(folder: Path, role: str, models: list[str], ring: KeyRing, threshold: int | None = None) -> ChangedRole:
    """Let the keys of ``role`` say what there is of ``models``; what was published of them moves along.

    For a role that there is already the models are added. If only the public half of its keys is here, the change waits
    for whoever has the other one. Raises `UsageError` for names that are none, `DataError` for a model that another
    role holds.
    """
    _check_names(role, models)
    with locked(folder):
        state = load(folder)
        refuse_pending(folder)
        for model in models:
            if state.role_of(model) not in (TARGETS, role):
                raise DataError(f"{model} is delegated to {state.role_of(model)} already")
        known = state.delegated(role)
        keys = ring.public(role) if known is None else []
        paths = [*(known.paths or [] if known is not None else []), *(f"{model}/*/*" for model in models)]
        keyids = [key.keyid for key in keys] if known is None else known.keyids
        wanted = _threshold(role, threshold or (known.threshold if known is not None else 1), len(keyids))
        _set_delegation(
            state.targets[TARGETS], DelegatedRole(role, keyids, wanted, True, list(dict.fromkeys(paths))), keys
        )
        if role not in state.targets:
            state.targets = {role: _empty(state, role), **state.targets}
        move(models, state.targets[TARGETS], state.targets[role])
        what = f"repo delegate {role}"
        waits = release(folder, state, (role, TARGETS, *ONLINE), ring, what, of_others=(role,)).waits
        return ChangedRole(role, tuple(keyids), wanted, waits)


def undelegate(folder: Path, role: str, ring: KeyRing) -> ChangedRole:
    """Take a delegation back: what the role holds is the targets role's again. Raises `DataError` if there is none."""
    with locked(folder):
        state = load(folder)
        refuse_pending(folder)
        known, top = state.delegated(role), state.targets[TARGETS]
        if known is None or top.delegations is None or top.delegations.roles is None:
            raise DataError(f"nothing is delegated to {role}")
        move(models_of(state.targets[role]), state.targets.pop(role), top)
        del top.delegations.roles[role]
        _drop_unused_keys(top.delegations)
        if not top.delegations.roles:
            top.delegations = None
        waits = release(folder, state, (TARGETS, *ONLINE), ring, f"repo delegate --remove {role}").waits
        return ChangedRole(role, (), 0, waits)


def rotate(folder: Path, role: str, old: KeyRing, new: KeyRing, threshold: int | None = None) -> ChangedRole:
    """Replace the keys of a role by those that ``new`` has for it.

    ``old`` holds the present keys: of root they have to sign too (TUF 5.3.4), of the others it lets devices that have
    not seen the new root yet go on without a gap. Raises `DataError` if there is no such role, `UsageError` if the new
    keys are the old ones.
    """
    with locked(folder):
        state = load(folder)
        refuse_pending(folder)
        if not state.has(role):
            raise DataError(f"there is no role {role}; there are {', '.join(state.names)}")
        keys = new.public(role)
        before, known_threshold = state.trust(role)
        if {key.keyid for key in keys} == set(before):
            raise UsageError(f"these are the keys of {role} already: make new ones with 'maas-converter keys create'")
        if threshold is None and len(keys) < known_threshold:
            raise UsageError(
                f"{role} takes {known_threshold} signatures, and there are {len(keys)} new keys: give more (the public "
                "halves are enough), or lower that by --threshold"
            )
        wanted = _threshold(role, threshold or known_threshold, len(keys))
        both = KeyRing([*new.folders, *old.folders], old.ask)
        changed = _replace(state, role, keys, wanted)
        of_others = () if role in TOP else (role,)
        waits = release(folder, state, (*changed, *ONLINE), both, f"repo rotate {role}", of_others, old).waits
        return ChangedRole(role, tuple(key.keyid for key in keys), wanted, waits)


def _replace(state: State, role: str, keys: list[Key], threshold: int) -> tuple[str, ...]:
    """Put the keys in; which roles have to be signed for that."""
    delegated = state.delegated(role)
    if delegated is None:
        _replace_in_root(state.root, role, keys, threshold)
        return ("root", role) if role == TARGETS else ("root",)
    keyids = [key.keyid for key in keys]
    _set_delegation(
        state.targets[TARGETS], DelegatedRole(role, keyids, threshold, delegated.terminating, delegated.paths), keys
    )
    return role, TARGETS


def _replace_in_root(root: Root, role: str, keys: list[Key], threshold: int) -> None:
    for keyid in list(root.roles[role].keyids):
        root.revoke_key(keyid, role)
    for key in keys:
        root.add_key(key, role)
    root.roles[role].threshold = threshold


def _set_delegation(top: Targets, role: DelegatedRole, keys: list[Key]) -> None:
    if top.delegations is None or top.delegations.roles is None:
        top.delegations = Delegations({}, {})
    delegations = top.delegations
    assert delegations.roles is not None  # noqa: S101 - made above
    delegations.roles[role.name] = role
    delegations.keys.update({key.keyid: key for key in keys})
    _drop_unused_keys(delegations)


def _drop_unused_keys(delegations: Delegations) -> None:
    used = {keyid for each in (delegations.roles or {}).values() for keyid in each.keyids}
    delegations.keys = {keyid: key for keyid, key in delegations.keys.items() if keyid in used}


def _empty(state: State, role: str) -> Targets:
    """A new role's metadata. One of its name that there was before goes on counting: devices refuse a lower version."""
    known = state.snapshot.meta.get(f"{role}.json")
    targets = Targets()
    targets.version = known.version if known is not None else 0  # the release adds 1
    return targets


def _check_names(role: str, models: list[str]) -> None:
    if not NAME.fullmatch(role) or role in TOP:
        raise UsageError(
            f"{role!r} is no name for a role: lower-case letters, digits, '.', '_', '-', and none of TUF's"
        )
    for model in models:
        if not NAME.fullmatch(model):
            raise UsageError(f"{model!r} is no name of a model")


def _threshold(role: str, wanted: int, count: int) -> int:
    if not 1 <= wanted <= count:
        raise UsageError(f"a threshold of {wanted} for {role}: there are {count} keys of it")
    return wanted
