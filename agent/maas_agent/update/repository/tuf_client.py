"""Lets python-tuf's ``ngclient`` survive power cuts and wrong clocks, and list the roles of a model.

``ngclient`` decides what is signed, fresh and not rolled back. Here its files are fsynced in the order in which it
writes them, and written only when they change (a poll without news writes nothing); its clock is given from outside;
and beside ``get_targetinfo``, which finds one path, there is a way to load every role that may speak for a model.
This is the class that ``tests/conformance`` drives.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root, Targets, Timestamp  # type: ignore[attr-defined]
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from maas_agent.bundle.manifest import NAME
from maas_agent.host.files import make_folder, write_durably

Signed = TypeVar("Signed", Root, Targets)

_CONFIG = UpdaterConfig(targets_max_length=16 << 20)
"""Bytes of each role: root 0.5 MB, timestamp 16 KB, snapshot 2 MB (``ngclient``'s own); 32 delegated roles at most."""


class TufClient(Updater):
    """An ``Updater`` whose metadata is in ``folder``; ``time`` says, for the newest root, by what time things expire.

    ``bootstrap`` is the trusted root; ``None`` trusts the one in ``folder``. Raises ``RepositoryError`` if it is none.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        fetcher: FetcherInterface,
        bootstrap: bytes | None,
        time: Callable[[Root], datetime] = lambda _root: datetime.now(UTC),
    ) -> None:
        _prepare(folder)
        self._time = time
        super().__init__(str(folder), url, fetcher=fetcher, config=_CONFIG, bootstrap=bootstrap)

    @property
    def root(self) -> Root:
        """The newest trusted root."""
        return self._trusted_set.root

    @property
    def timestamp(self) -> Timestamp:
        """The newest trusted timestamp, after ``refresh``."""
        return self._trusted_set.timestamp

    def roles_for(self, model: str | None) -> dict[str, Targets]:
        """The targets metadata that may hold targets of ``model`` (``None``: of any), by role, in TUF's order.

        After ``refresh``; what is delegated is fetched and verified now. Raises as ``get_targetinfo`` does.
        """
        waiting, loaded = [(Targets.type, Root.type)], dict[str, Targets]()
        while waiting:
            role, parent = waiting.pop()
            if role in loaded:
                continue
            if len(loaded) > self.config.max_delegations:
                raise RepositoryError(f"more than {self.config.max_delegations} roles are delegated")
            if not NAME.fullmatch(role):
                raise RepositoryError(f"the name of a delegated role, {role!r}, is none")
            loaded[role] = sound(self._load_targets(role, parent))
            waiting += [(child, role) for child in reversed(_children(loaded[role], model))]
        return loaded

    def _load_root(self) -> None:
        super()._load_root()
        sound(self.root)
        # The set of trusted metadata takes the system's clock when it is made, and has no parameter for another one.
        self._trusted_set.reference_time = self._time(self.root)

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:
            write_durably(path, data)

    def _update_root_symlink(self) -> None:
        # A copy, and no link: this process may make none. Older agents have left one here, which is as good.
        folder = Path(self._dir)
        newest = (folder / "root_history" / f"{self.root.version}.root.json").read_bytes()
        self._persist_file(str(folder / "root.json"), newest)


class _Role(msgspec.Struct):
    keyids: tuple[str, ...]
    threshold: int


class _Delegated(_Role, kw_only=True):
    name: str
    terminating: bool
    paths: tuple[str, ...] | None = None
    path_hash_prefixes: tuple[str, ...] | None = None


class _Succinct(_Role, kw_only=True):
    bit_length: int
    name_prefix: str


class _Delegations(msgspec.Struct):
    roles: tuple[_Delegated, ...] = ()
    succinct_roles: _Succinct | None = None


class _File(msgspec.Struct):
    length: int
    hashes: dict[str, str]


class _Types(msgspec.Struct):
    """What is read of a root and of targets."""

    roles: dict[str, _Role] = {}
    targets: dict[str, _File] = {}
    delegations: _Delegations | None = None


def sound(signed: Signed) -> Signed:
    """``signed`` if its fields are of the types that the specification gives them; raises ``RepositoryError``.

    python-tuf does not look at all of them, and whoever has a key of some role may sign a number where a name belongs:
    that must be refused as what it is, for the models of this role only.
    """
    try:
        msgspec.convert(signed.to_dict(), _Types)
    except ValueError as error:  # msgspec's, or a lone surrogate, which is no text
        raise RepositoryError(f"metadata of the type {signed.type} is malformed: {error}") from None
    return signed


def speakers(loaded: dict[str, Targets], path: str) -> Iterator[str]:
    """The roles that may say something of ``path``, in the order in which TUF asks them.

    It is the walk of the specification (5.6.7) without the end at a target that was found: so the first of these roles
    that has the target is the one that counts.
    """
    waiting, seen = [Targets.type], set[str]()
    while waiting:
        role = waiting.pop()
        if role in seen or role not in loaded:
            continue
        seen.add(role)
        yield role
        delegations, children = loaded[role].delegations, list[str]()
        for child, terminating in delegations.get_roles_for_target(path) if delegations else ():
            children.append(child)
            if terminating:
                waiting = []
                break
        waiting += reversed(children)


def keys_of(role: str, root: Root, loaded: dict[str, Targets]) -> tuple[str, ...]:
    """The ids of all keys that are trusted for ``role``, by the root or by whoever delegates to it."""
    if role in root.roles:
        return tuple(sorted(root.roles[role].keyids))
    delegations = [signed.delegations for signed in loaded.values() if signed.delegations]
    known = [found for each in delegations if (found := (each.roles or {}).get(role) or each.succinct_roles)]
    return tuple(sorted({key for found in known for key in found.keyids}))


def mark_keys(role: str, root: Root, loaded: dict[str, Targets]) -> tuple[str, ...]:
    """The ids of the keys that vouch for a version of targets metadata: those of the role, and of the snapshot.

    TUF's way to recover from versions that a thief made too high is to rotate either (5.3.11): then lower ones count.
    """
    return tuple(sorted({*keys_of(role, root, loaded), *keys_of("snapshot", root, loaded)}))


def _children(targets: Targets, model: str | None) -> list[str]:
    delegations = targets.delegations
    if delegations is None:
        return []
    if delegations.succinct_roles is not None:
        return list(delegations.succinct_roles.get_roles())
    roles = (delegations.roles or {}).values()
    return [role.name for role in roles if model is None or _may_hold(role.paths, model)]


def _may_hold(patterns: list[str] | None, model: str) -> bool:
    # None: the role is chosen by the hash of a path, so it may hold anything.
    return patterns is None or any(
        pattern.count("/") == 2 and fnmatch(model, pattern.partition("/")[0]) for pattern in patterns
    )


def _prepare(folder: Path) -> None:
    history = folder / "root_history"
    make_folder(folder)
    make_folder(history)
    for left in [*folder.glob(".*.new"), *history.glob(".*.new"), *folder.glob("tmp*")]:
        left.unlink(missing_ok=True)  # by a process that was killed
