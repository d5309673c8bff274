"""Keeps the state of a pipeline on the disk, in a file and a copy: it is in a state only once that is there."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.base.log import Log
from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.delivery import SCHEMAS
from maas_agent.bundle.manifest import decode_manifest, digest_of
from maas_agent.bundle.schema import NEWEST, is_of_newer, is_overcome
from maas_agent.bundle.staged import blob_path, staged_delivery
from maas_agent.errors import BundleError, DataError, brief
from maas_agent.host.files import make_folder, write_durably
from maas_agent.hub.takeover.pipeline_state import UNFINISHED, PipelineState, Slot, UpdateState, started_over
from maas_agent.trials.record import Trials

_LONGEST_DAMAGE = 500


class StateStore:
    """Keeps the pipeline's `PipelineState` and its file. ``on_change`` is called after every change."""

    def __init__(self, store: Path, pipeline: str, on_change: Callable[[], None], log: Log) -> None:
        self._store, self._pipeline, self._on_change, self._log = store, pipeline, on_change, log
        self.state: PipelineState = load(store, pipeline, lambda text: log.error(text))

    def become(self, state: PipelineState, *, even_unsaved: bool = False) -> None:
        """Persist a state, then be in it. Raises ``OSError`` (disk full) and stays, unless ``even_unsaved``."""
        if state == self.state:
            return
        try:
            save(self._store, self._pipeline, state)
        except OSError as error:
            self._log.error("cannot save the state", pipeline=self._pipeline, reason=error.strerror)
            if not even_unsaved:
                raise
        self.state = state
        self._on_change()


def load(store: Path, pipeline: str, warn: Callable[[str], None]) -> PipelineState:
    """The state of ``pipeline`` at start-up; a missing file is a fresh start.

    An update that a cut interrupted starts over. A damaged file is set aside as ``.damaged``, its copy takes its place,
    and ``warn`` gets a sentence. The file of a newer agent, with values that this one does not know, is left alone.
    Raises `DataError` if the file is there and cannot be read, and there is no copy.
    """
    path, copy = path_of(store, pipeline), _copy(store, pipeline)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return PipelineState()
    except OSError as error:
        said = f"cannot read the state of pipeline {pipeline!r}, {path}: {error.strerror}"
        if copy is None:
            raise DataError(said) from None
        warn(f"{said}; its copy tells what is active")
        return copy
    try:
        state = msgspec.json.decode(data, type=PipelineState)
    except MALFORMED as error:
        damage, known = str(error)[:_LONGEST_DAMAGE], _of_newer(data)  # it repeats the value that was wrong
        if known is None:
            return _restored(path, data, pipeline, damage, copy, warn)
        warn(
            f"the state of pipeline {pipeline!r} has values that this agent does not know ({damage}): a newer one has "
            f"written {path}, it stays as it is for as long as the same bundles run"
        )
        state = known
    # A cut between both files leaves the copy ahead of a state that is right: that one names what is here, or nothing.
    other = copy is not None and state.active is not None and copy.active != state.active
    if other and copy is not None and _is_here(store, copy) and not _is_here(store, state):
        warn(f"what {path} names as active is not on this device, and what its copy names is: that is taken")
        state = copy
    return _with_a_stand_in(store, started_over(_without_overcome(state)), warn)


def save(store: Path, pipeline: str, state: PipelineState) -> None:
    """Persist ``state``; raises ``OSError`` (disk full) with the old state untouched.

    What is active, was and is refused is written to a copy first, if that has changed: with one of both files damaged
    the other one tells it. Of a newer agent's file nothing is replaced before a bundle changes; then it is kept beside.
    """
    path = path_of(store, pipeline)
    make_folder(path.parent)
    newer = _newer_file(path)
    if newer is not None:
        known, data = newer
        if _without_update(known) == _without_update(state):
            return
        write_durably(path.with_name(f"{path.name}.newer"), data)
    copy, copied = _copy_path(path), _encoded(_without_update(msgspec.structs.replace(state, candidate=None)))
    if not _holds(copy, copied):
        write_durably(copy, copied)
    write_durably(path, _encoded(state))


def is_lost(store: Path, pipeline: str, state: PipelineState) -> bool:
    """Whether it is unknown what this pipeline ran: its file was damaged, and nothing is active since."""
    path = path_of(store, pipeline)
    return state.active is None and path.with_name(f"{path.name}.damaged").exists()


def left_behind(store: Path, pipelines: Collection[str]) -> set[str] | None:
    """The manifests of pipelines that are none of these any more; ``None`` if that cannot be told."""
    manifests = set[str]()
    for path in (store / "pipelines").glob("*.json"):
        if path.name.removesuffix(".json") in pipelines:
            continue
        try:
            data = path.read_bytes()
            state: PipelineState | None = msgspec.json.decode(data, type=PipelineState)
        except OSError:
            return None
        except MALFORMED:
            state = _of_newer(data) or _decoded(_copy_path(path))
        if state is None:
            return None
        manifests |= state.digests()
    return manifests


def path_of(store: Path, pipeline: str) -> Path:
    """The file that holds the state of ``pipeline``."""
    return store / "pipelines" / f"{pipeline}.json"


def _copy_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.copy")


def _copy(store: Path, pipeline: str) -> PipelineState | None:
    return _decoded(_copy_path(path_of(store, pipeline)))


def _decoded(path: Path) -> PipelineState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=PipelineState)
    except (OSError, *MALFORMED):
        return None


def _encoded(state: PipelineState) -> bytes:
    return msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _without_update(state: PipelineState) -> PipelineState:
    return msgspec.structs.replace(state, update=UpdateState())


def _restored(
    path: Path, data: bytes, pipeline: str, damage: str, copy: PipelineState | None, warn: Callable[[str], None]
) -> PipelineState:
    """What takes the place of a damaged file, which is kept beside."""
    aside = path.with_name(f"{path.name}.damaged")
    said = f"the state of pipeline {pipeline!r} was damaged ({damage})"
    # On a disk that takes nothing it stays as it is, and is read so again.
    with suppress(OSError):
        if copy is None:
            path.replace(aside)
        else:
            write_durably(aside, data)
            write_durably(path, _encoded(copy))
    if copy is None:
        warn(f"{said}: it starts afresh, the file is now {aside}")
        return PipelineState()
    warn(f"{said}: what is active is known from its copy, the file is now {aside}")
    return copy


def _is_here(store: Path, state: PipelineState) -> bool:
    """Whether the manifest of what is active is in the store."""
    try:
        return state.active is not None and digest_of(blob_path(store, state.active.digest).read_bytes()) == (
            state.active.digest
        )
    except (OSError, ValueError):  # no name of a file at all
        return False


def _newer_file(path: Path) -> tuple[PipelineState, bytes] | None:
    """The file of a newer agent: what this one knows of it, and its bytes; ``None`` if it is none."""
    try:
        data = path.read_bytes()
        msgspec.json.decode(data, type=PipelineState)
    except OSError:
        return None
    except MALFORMED:
        known = _of_newer(data)
        return None if known is None else (known, data)
    return None


def _of_newer(data: bytes) -> PipelineState | None:
    """What is known of a state with values that this agent does not know; ``None`` if its bundles cannot be told."""
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict) or "active" not in document:
            return None
        active, previous = _slot_of(document["active"]), _slot_of(document.get("previous"))
    except MALFORMED:
        return None
    others = {name: _known(document.get(name), dict[str, str], {}) for name in ("refused", "revoked")}
    update = _known(document.get("update"), UpdateState, UpdateState())
    if update.state in UNFINISHED:
        update = UpdateState(since=update.since)  # its candidate is not known
    return PipelineState(active=active, previous=previous, update=update, **others)


def _slot_of(value: Any) -> Slot | None:
    """Raises ``msgspec.ValidationError`` if there is a bundle and it is not said which."""
    if value is None:
        return None
    slot = msgspec.convert(value, _Named)
    return Slot(slot.version, slot.digest, _known(value.get("trials"), Trials | None, None))


class _Named(msgspec.Struct, frozen=True):
    version: str
    digest: str


def _known(value: Any, kind: Any, otherwise: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return otherwise


def _without_overcome(state: PipelineState) -> PipelineState:
    """Without what an earlier agent set aside only because it did not know its schema: this one does."""
    left = {
        digest: reason
        for digest, reason in state.refused.items()
        if not is_overcome(reason, manifest=NEWEST, delivery=SCHEMAS.newest)
    }
    return state if len(left) == len(state.refused) else msgspec.structs.replace(state, refused=left)


def _with_a_stand_in(store: Path, state: PipelineState, warn: Callable[[str], None]) -> PipelineState:
    """After a downgrade the active bundle may be of a schema that only the newer agent reads.

    Then the one before it is active, which was so already, and gives way again to the newer agent.
    """
    active, previous, update = state.active, state.previous, state.update
    if active is None or previous is None:
        return state
    if state.stands_in_for == previous.digest:
        if _unreadable(store, previous) is not None:
            return state
        update = UpdateState("active", previous.version, None, update.since)
        return msgspec.structs.replace(state, active=previous, previous=active, update=update, stands_in_for=None)
    why = _unreadable(store, active)
    if why is None or _unreadable(store, previous) is not None:
        return state
    warn(f"{active.version}, which is active, is of a newer agent: {why}; {previous.version} serves in its place")
    return msgspec.structs.replace(
        state,
        active=previous,
        previous=active,
        update=UpdateState("rolled_back", active.version, brief(why), update.since),
        stands_in_for=active.digest,
    )


def _unreadable(store: Path, slot: Slot) -> str | None:
    """Why this agent cannot read a bundle that a newer one has brought; ``None`` if it can, or if it is damaged."""
    try:
        data = blob_path(store, slot.digest).read_bytes()
        if digest_of(data) == slot.digest:
            decode_manifest(data)
            staged_delivery(store, slot.digest)
    except (OSError, ValueError):
        return None
    except BundleError as error:
        return str(error) if is_of_newer(str(error)) else None
    return None
