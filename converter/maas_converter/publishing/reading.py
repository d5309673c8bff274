"""Reading the metadata of a repository: what the timestamp leads to, and whether it is what was signed.

Whoever may write to the folder (a server, a shared disk) must not get something signed by slipping it in: the next
publisher takes over what there is. So everything is judged by the roots before it is built upon.
"""

import os
import stat
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

from maas_agent.errors import DataError, NoInputError
from maas_converter.publishing.state import TARGETS, State, delegations_of
from maas_converter.publishing.well_formed import refuse_malformed

_MAX_BYTES = 64 << 20
"""Of a metadata file: some hundred thousand targets."""


def load(folder: Path) -> State:
    """What the timestamp leads to, and is signed; higher versions that lie there were never released.

    Raises `NoInputError` if there is no repository, `DataError` if it is damaged or was changed by somebody without
    its keys.
    """
    state, files = _read_all(folder)
    roots = roots_of(folder, state.root.version)
    outdated = set[str]()
    for name, metadata in files.items():
        if state.signed(name, metadata):
            continue
        # A rotation whose old keys were lost may have been cut between the new root and the rest.
        if name not in root_roles(state) or not any(_signed(root.signed, name, metadata) for root in roots[:-1]):
            raise DataError(
                f"the {name} metadata in {folder} is not signed by its keys: somebody has changed it. "
                "Bring back the folder from a copy; 'maas-converter repo verify' says whether one is whole"
            )
        outdated.add(name)
    state.outdated = frozenset(outdated)
    return state


def read_state(folder: Path) -> State:
    """Read what `load` reads, whoever has signed it: to be looked at, not to be built upon."""
    return _read_all(folder)[0]


def root_roles(state: State) -> list[str]:
    """The roles whose keys the root names."""
    return [name for name in state.names if state.delegated(name) is None and name != "root"]


def newest_root(metadata: Path) -> int | None:
    """The version of the newest root."""
    versions = [path.name.partition(".")[0] for path in metadata.glob("*.root.json")]
    return max((int(version) for version in versions if version.isdecimal()), default=None)


def read(path: Path, kind: type[Any]) -> Any:
    """The signed part of a metadata file; raises `DataError` if it is none of that kind."""
    return read_metadata(path, kind).signed


def read_metadata(path: Path, kind: type[Any]) -> Metadata[Any]:
    """A metadata file; raises `DataError` if it is none of that kind, or says what no publisher of bundles says."""
    try:
        metadata = Metadata[Any].from_bytes(read_file(path))
        refuse_malformed(metadata.signed)
    except (OSError, RepositoryError, ValueError) as error:
        raise DataError(f"the repository is damaged, {path} cannot be read: {error}") from None
    if not isinstance(metadata.signed, kind):
        raise DataError(f"the repository is damaged, {path} holds {metadata.signed.type} metadata")
    return metadata


def read_file(path: Path, most_bytes: int = _MAX_BYTES) -> bytes:
    """A file of the folder, whole; raises ``OSError``, or ``ValueError`` for what is none, or has more bytes.

    Whoever may write to the folder may put a pipe there, which is waited for without an end, or a file without one.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return data


def _read_all(folder: Path) -> tuple[State, dict[str, Metadata[Any]]]:
    metadata = folder / "metadata"
    newest = newest_root(metadata)
    if newest is None or not (metadata / "timestamp.json").exists():
        raise NoInputError(f"{folder} is no repository: 'maas-converter repo init' makes one")
    timestamp = read_metadata(metadata / "timestamp.json", Timestamp)
    snapshot = read_metadata(metadata / f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
    top = _role_file(metadata, snapshot.signed, TARGETS)
    delegated = {name: _role_file(metadata, snapshot.signed, name) for name in delegations_of(top.signed)}
    targets = delegated | {TARGETS: top}
    root = read(metadata / f"{newest}.root.json", Root)
    state = State(root, {name: each.signed for name, each in targets.items()}, snapshot.signed, timestamp.signed)
    return state, {**targets, "snapshot": snapshot, "timestamp": timestamp}


def _role_file(metadata: Path, snapshot: Snapshot, name: str) -> Metadata[Any]:
    named = snapshot.meta.get(f"{name}.json")
    if named is None:
        raise DataError(f"the repository is damaged, its snapshot does not name {name}")
    return read_metadata(metadata / f"{named.version}.{name}.json", Targets)


def roots_of(folder: Path, newest: int) -> list[Metadata[Root]]:
    """Every root up to ``newest``; raises `DataError` if one is not signed by itself and the one before (TUF 5.3.4)."""
    roots = list[Metadata[Root]]()
    for version in range(1, newest + 1):
        path = folder / "metadata" / f"{version}.root.json"
        metadata = read_metadata(path, Root)
        if not all(
            _signed(root, "root", metadata) for root in [*(each.signed for each in roots[-1:]), metadata.signed]
        ):
            raise DataError(f"{path} is not signed by the keys of root: somebody has changed it")
        roots.append(metadata)
    return roots


def _signed(root: Root, name: str, metadata: Metadata[Any]) -> bool:
    return bool(root.get_verification_result(name, metadata.signed_bytes, metadata.signatures))
