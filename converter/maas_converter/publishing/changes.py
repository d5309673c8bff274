"""What a change says, in sentences: for whoever is asked to sign it. Read from what is signed, not from its title."""

from collections.abc import Iterator, Mapping
from typing import Any

from tuf.api.metadata import Role, Root, Targets  # type: ignore[attr-defined]  # it has no __all__

from maas_converter.publishing.state import State, delegations_of


def changes(before: State | None, signed: Mapping[str, Any]) -> list[str]:
    """What ``signed`` (the new metadata by role) changes in the repository that there was before."""
    found = list[str]()
    for name, after in signed.items():
        if isinstance(after, Root):
            found += _of_root(before.root if before is not None else Root(), after)
        else:
            known = before.targets.get(name) if before is not None else None
            found += [f"{name}: {each}" for each in _of_targets(known or Targets(), after)]
    return found or ["nothing but longer validity"]


def _of_root(before: Root, after: Root) -> Iterator[str]:
    for role, trusted in after.roles.items():
        if _trust(before.roles[role]) != _trust(trusted):
            yield f"root: {role} is signed by {_signers(trusted)}"


def _of_targets(before: Targets, after: Targets) -> Iterator[str]:
    yield from _of_files(before, after)
    for field, words in (("channels", _of_channels), ("revoked", _of_revoked)):
        known, now = (each.unrecognized_fields.get(field, {}) for each in (before, after))
        for model in sorted({*known, *now}):
            yield from words(model, known.get(model, {}), now.get(model, {}))
    yield from _of_delegations(before, after)


def _of_files(before: Targets, after: Targets) -> Iterator[str]:
    for path in sorted({*before.targets, *after.targets}):
        old, new = (_digest(each, path) for each in (before, after))
        what = path.removesuffix("/manifest.json").replace("/", " ")
        if old == new or _comes_along(before, after, path):
            continue
        if new is None:
            yield f"no longer holds {what}"
        elif old is None:
            yield f"holds {what} ({new[:12]}…)"
        else:
            yield f"REPLACES {what} by other content ({new[:12]}…)"


def _comes_along(before: Targets, after: Targets, path: str) -> bool:
    """Whether a delivery comes or goes with its manifest, which is said."""
    manifest = path.removesuffix("delivery.json") + "manifest.json"
    there = [path in each.targets for each in (before, after)]
    return path != manifest and there[0] != there[1] and there == [manifest in each.targets for each in (before, after)]


def _digest(targets: Targets, path: str) -> str | None:
    target = targets.targets.get(path)
    return target.hashes["sha256"] if target is not None else None


def _of_channels(model: str, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for channel in sorted({*before, *after}):
        old, new = (each.get(channel, "nothing") for each in (before, after))
        if old != new:
            yield f"{channel} of {model} leads to {new}, before to {old}"


def _of_revoked(model: str, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    yield from (f"revokes {model} {version}: {reason}" for version, reason in after.items() if version not in before)
    yield from (f"revokes {model} {version} no longer" for version in before if version not in after)


def _of_delegations(before: Targets, after: Targets) -> Iterator[str]:
    known, now = delegations_of(before), delegations_of(after)
    for role in sorted({*known, *now}):
        old, new = known.get(role), now.get(role)
        if new is None:
            yield f"delegates nothing to {role} any more"
        elif old is None or (_trust(old), old.paths) != (_trust(new), new.paths):
            models = ", ".join(path.partition("/")[0] for path in new.paths or [])
            yield f"delegates {models} to {role}, signed by {_signers(new)}"


def _trust(role: Role) -> tuple[set[str], int]:
    return set(role.keyids), role.threshold


def _signers(role: Role) -> str:
    keys = ", ".join(f"{keyid[:12]}…" for keyid in role.keyids)
    return keys if role.threshold == len(role.keyids) else f"{role.threshold} of {keys}"
