"""The metadata of a repository as one value: what the timestamp leads to, to be changed and released. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from tuf.api.metadata import (  # type: ignore[attr-defined]  # tuf has no __all__
    DelegatedRole,
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
    VerificationResult,
)

TARGETS = "targets"
TOP = ("root", "targets", "snapshot", "timestamp")
"""TUF's top-level roles, in the order in which they are released."""

LIFETIME_DAYS = {"root": 365, "targets": 90, "snapshot": 30, "timestamp": 7}
"""How long metadata is valid; delegated roles as long as targets. A device that sees it expired refuses it: it may be
an old copy, replayed. The timestamp bounds how long an attacker can hide an update, and how long ``repo refresh`` may
not run.
"""

SOON = 1 / 3
"""Metadata with less than this part of its lifetime left is signed anew by a refresh."""


class State(msgspec.Struct):
    """``targets`` maps role names to their metadata: ``targets`` itself, and what it delegates to.

    ``outdated`` are the roles that are signed by keys of an older root: a rotation was interrupted.
    """

    root: Root
    targets: dict[str, Targets]
    snapshot: Snapshot
    timestamp: Timestamp
    outdated: frozenset[str] = frozenset()

    def role(self, name: str) -> Any:
        """The metadata of a role."""
        return self.targets[name] if name in self.targets else getattr(self, name)

    def has(self, name: str) -> bool:
        """Whether there is such a role."""
        return name in self.targets or name in TOP

    @property
    def names(self) -> list[str]:
        """All roles, in the order in which they are released."""
        return ["root", *(name for name in self.targets if name != TARGETS), TARGETS, "snapshot", "timestamp"]

    def delegated(self, name: str) -> DelegatedRole | None:
        """How a role is delegated; ``None`` for one that is not."""
        return delegations_of(self.targets[TARGETS]).get(name)

    def trust(self, name: str) -> tuple[list[str], int]:
        """The ids of the keys that count for a role, and how many of them have to sign."""
        delegated = self.delegated(name)
        role = delegated if delegated is not None else self.root.roles[name]
        return list(role.keyids), role.threshold

    def signed(self, name: str, metadata: Metadata[Any]) -> VerificationResult:
        """Which of the keys that count for a role have signed this, true if they are enough."""
        delegator = self.root if self.delegated(name) is None else self.targets[TARGETS]
        return delegator.get_verification_result(name, metadata.signed_bytes, metadata.signatures)

    def role_of(self, model: str) -> str:
        """Which role says what there is of ``model``: the first that it is delegated to, else the targets role."""
        for name, delegated in delegations_of(self.targets[TARGETS]).items():
            if delegated.is_delegated_path(f"{model}/0/manifest.json"):
                return name
        return TARGETS


def delegations_of(targets: Targets) -> Mapping[str, DelegatedRole]:
    """To whom a role delegates, by name."""
    return (targets.delegations.roles or {}) if targets.delegations is not None else {}


def lifetime_days(name: str) -> int:
    """For how many days a role is signed."""
    return LIFETIME_DAYS.get(name, LIFETIME_DAYS[TARGETS])


def said(targets: Targets, field: str, model: str) -> dict[str, str]:
    """A model's ``channels`` or ``revoked`` in a role's metadata; changing it changes them."""
    known: dict[str, dict[str, str]] = targets.unrecognized_fields.setdefault(field, {})
    return known.setdefault(model, {})


def tidy(targets: Targets) -> None:
    """Leave out what says nothing."""
    for field in ("channels", "revoked"):
        known = {model: words for model, words in targets.unrecognized_fields.get(field, {}).items() if words}
        targets.unrecognized_fields.pop(field, None)
        if known:
            targets.unrecognized_fields[field] = known


def models_of(targets: Targets) -> set[str]:
    """The models that a role says something of."""
    named = {path.partition("/")[0] for path in targets.targets}
    return named.union(*(targets.unrecognized_fields.get(field, {}) for field in ("channels", "revoked")))


def move(models: Iterable[str], source: Targets, goal: Targets) -> None:
    """Let ``goal`` say what ``source`` said of these models."""
    for model in models:
        for path in [path for path in source.targets if path.startswith(f"{model}/")]:
            goal.targets[path] = source.targets.pop(path)
        for field in ("channels", "revoked"):
            said(goal, field, model).update(said(source, field, model))
            said(source, field, model).clear()
    tidy(source)
    tidy(goal)


def now() -> datetime:
    """The present second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)
