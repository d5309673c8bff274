"""Holds what a pipeline runs, ran before and tries next, and how far an update is: one file each.

The transitions are pure: a state in, a state out, `IllegalTransition` if it does not follow. The hub saves the new
state, and only then acts on it. It imports this: neither ``tuf`` nor NumPy is needed.

    init ─▶ pulling ─▶ verifying ─▶ staged ─▶ testing ─▶ shadow? ─▶ probation ─▶ active
      any of them ─▶ failed(reason)           probation, active ─▶ rolled_back(reason)

On probation the candidate serves, and what served before is still the active one: a cut brings that back.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.delivery import SCHEMAS
from maas_agent.bundle.manifest import decode_manifest, digest_of
from maas_agent.bundle.schema import NEWEST, is_of_newer, is_overcome
from maas_agent.bundle.staged import blob_path, staged_delivery
from maas_agent.bundle.version import parse_version
from maas_agent.errors import BundleError, DataError, brief
from maas_agent.host.files import make_folder, write_durably
from maas_agent.trials.record import Trials
from maas_agent.update.protocol import Outcome, PullProgress, State

_BEFORE: dict[State, tuple[State, ...]] = {
    "pulling": ("init", "active", "failed", "rolled_back", "shadow"),
    "verifying": ("pulling",),
    "staged": ("verifying",),
    "testing": ("staged",),
    "shadow": ("testing",),
    "probation": ("testing", "shadow"),
    "active": ("probation",),
    "rolled_back": ("probation", "active", "failed", "rolled_back"),
}
"""From which states each one is entered; ``failed`` from every one."""

_UNFINISHED: tuple[State, ...] = ("pulling", "verifying", "staged", "testing", "shadow", "probation")
_ON_TRIAL: tuple[State, ...] = ("shadow", "probation")
_MAX_REFUSED = 64
_LONGEST_DAMAGE = 500
_MAX_INTERRUPTED = 3
"""So often a device may go down while a bundle is on probation; then the bundle may be the reason."""


class IllegalTransition(DataError):  # noqa: N818 - it reads as what it is
    """A transition that does not follow from the present state: the puller, or the hub, is confused."""


class Slot(msgspec.Struct, frozen=True):
    """A staged bundle: its version, the digest of its manifest in the store, and what trying it here came to."""

    version: str
    digest: str
    trials: Trials | None = None


class UpdateState(msgspec.Struct, frozen=True):
    """How far the newest update has come. ``since`` is Unix time in seconds."""

    state: State = "init"
    version: str | None = None
    reason: str | None = None
    since: float = 0.0


class PipelineState(msgspec.Struct, frozen=True):
    """All that is remembered of a pipeline's bundles.

    ``refused`` maps manifest digests to reasons, ``revoked`` versions that the publisher took back to his reasons;
    ``interrupted`` counts, by digest, how often the device went down while that bundle was on probation.
    ``stands_in_for`` is the digest of the bundle that would be active, and is ``previous`` as long as this agent cannot
    read it: a newer one has brought it, and has gone.
    """

    active: Slot | None = None
    candidate: Slot | None = None
    previous: Slot | None = None
    update: UpdateState = UpdateState()
    refused: dict[str, str] = {}
    revoked: dict[str, str] = {}
    interrupted: dict[str, int] = {}
    stands_in_for: str | None = None

    @property
    def serving(self) -> Slot | None:
        """The bundle that serves, or should: the candidate while it is on probation."""
        return self.candidate if self.update.state == "probation" and self.candidate else self.active

    def digests(self) -> set[str]:
        """The manifests that must stay in the store."""
        return {slot.digest for slot in (self.active, self.candidate, self.previous) if slot}


def progressed(state: PipelineState, event: PullProgress, now: float) -> PipelineState:
    """The puller is about to enter ``event.state``; from ``staged`` on, its bundle is the candidate."""
    _refuse_unless_next(state, event.state)
    offered = Slot(event.version, event.digest)
    if event.state == "testing" and state.candidate != offered:
        raise IllegalTransition(f"testing {event.version}, but staged is another bundle")
    candidate = offered if event.state in ("staged", "testing") else None
    return msgspec.structs.replace(state, candidate=candidate, update=_at(state, event.state, event.version, None, now))


def tested(state: PipelineState, outcome: Outcome, now: float, *, shadow: bool = False) -> PipelineState:
    """The candidate reproduced its golden samples: it may serve, on probation, or first in the active one's shadow."""
    entered: State = "shadow" if shadow else "probation"
    candidate = _candidate_after(state, entered)
    if candidate.digest != outcome.digest:
        raise IllegalTransition(f"tested {outcome.version}, but the candidate is another bundle")
    tried = msgspec.structs.replace(candidate, trials=outcome.trials)
    update = _at(state, entered, candidate.version, None, now)
    return msgspec.structs.replace(state, candidate=tried, update=update)


def promoted(state: PipelineState, now: float) -> PipelineState:
    """The candidate answered as the active bundle does, in its shadow: it may serve, on probation."""
    candidate = _candidate_after(state, "probation")
    return msgspec.structs.replace(state, update=_at(state, "probation", candidate.version, None, now))


def tried_again(state: PipelineState, digest: str, trials: Trials) -> PipelineState:
    """The bundle that serves was tried again here; nothing changes if another one serves by now."""
    for name in ("active", "candidate"):
        slot = getattr(state, name)
        if slot is not None and slot.digest == digest:
            state = msgspec.structs.replace(state, **{name: msgspec.structs.replace(slot, trials=trials)})
    return state


def activated(state: PipelineState, now: float) -> PipelineState:
    """The candidate has taken over; what was active is the previous one."""
    candidate = _candidate_after(state, "active")
    return msgspec.structs.replace(
        state,
        active=candidate,
        candidate=None,
        previous=state.active,
        update=_at(state, "active", candidate.version, None, now),
        interrupted={},
    )


def current(state: PipelineState, outcome: Outcome, now: float) -> PipelineState:
    """There is nothing newer to run. A failure stays visible for as long as its bundle is what is offered.

    A candidate on trial goes on: what is not newer than that is nothing new either.
    """
    if state.update.state in _ON_TRIAL:
        return state
    if state.update.state in _UNFINISHED:
        raise IllegalTransition(f"an update that is {state.update.state} cannot turn out to be current")
    if outcome.reason is not None and not outcome.mended and state.update.state in ("failed", "rolled_back"):
        return state
    settled: State = "active" if state.active else "init"
    version = state.active.version if state.active else None
    return msgspec.structs.replace(state, update=_at(state, settled, version, outcome.reason, now))


def failed(state: PipelineState, outcome: Outcome, now: float) -> PipelineState:
    """The update ended with a reason; what was active stays so, and a digest that is set aside is remembered.

    A candidate on trial goes on if it is not what failed: a server that is away says nothing of it.
    """
    if state.update.state in _ON_TRIAL and state.candidate is not None and state.candidate.digest != outcome.digest:
        return state
    reason = outcome.reason or "no reason was given"
    refused = state.refused
    if outcome.set_aside and outcome.digest is not None:
        refused = _with_refused(refused, outcome.digest, reason)
    update = _at(state, "failed", outcome.version, reason, now)
    return msgspec.structs.replace(state, candidate=None, update=update, refused=refused)


def refused(state: PipelineState, reason: str, now: float) -> PipelineState:
    """The candidate cannot serve, and there is nothing else that could: it is set aside."""
    candidate = _candidate_after(state, "active")
    update = _at(state, "failed", candidate.version, reason, now)
    digests = _with_refused(state.refused, candidate.digest, reason)
    return msgspec.structs.replace(state, candidate=None, update=update, refused=digests)


def rolled_back(state: PipelineState, reason: str, now: float) -> PipelineState:
    """The newest bundle misbehaved and goes: the candidate on probation, else the active one for the previous.

    Raises `IllegalTransition` if there is none to go back to, or the publisher has revoked that one, or one on the way.
    """
    _refuse_unless_next(state, "rolled_back")
    bad = state.candidate or state.active
    back = state.active if state.candidate else state.previous
    if bad is None or back is None:
        raise IllegalTransition("there is no bundle to roll back to")
    if not state.candidate and back.digest == state.stands_in_for:
        raise IllegalTransition(
            f"{back.version} is no way back, this agent cannot read it: install the newer one again"
        )
    if not state.candidate:
        _refuse_revoked(state.revoked, back.version, bad.version)
    return msgspec.structs.replace(
        state,
        active=back,
        candidate=None,
        previous=state.previous if state.candidate else None,
        update=_at(state, "rolled_back", bad.version, reason, now),
        refused=_with_refused(state.refused, bad.digest, reason),
    )


def informed(state: PipelineState, revoked: dict[str, str]) -> PipelineState:
    """The publisher has said which versions are revoked, with reasons; what was said once is not unsaid."""
    return msgspec.structs.replace(
        state, revoked=state.revoked | {version: brief(reason) for version, reason in revoked.items()}
    )


def stopped(state: PipelineState) -> PipelineState:
    """The agent ends in good order: an update that is not finished starts over, and nobody is to blame for it."""
    if state.update.state not in _UNFINISHED:
        return state
    return msgspec.structs.replace(state, candidate=None, update=UpdateState(since=state.update.since))


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
    return _with_a_stand_in(store, _started_over(_without_overcome(state)), warn)


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
    if update.state in _UNFINISHED:
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


def _refuse_revoked(revoked: dict[str, str], back: str, bad: str) -> None:
    """What was revoked was to end: a broker that withdraws what runs must not lead back to it, or behind it."""
    if back in revoked:
        raise IllegalTransition(f"{back} is no way back, it was revoked: {revoked[back]}")
    between = [version for version in revoked if parse_version(back) < parse_version(version) < parse_version(bad)]
    if between:
        raise IllegalTransition(f"{back} is no way back, it is older than {between[0]}, which was revoked")


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


def _started_over(state: PipelineState) -> PipelineState:
    # Blobs that arrived are still in the store: starting over costs a self-test, not a download.
    candidate, update = state.candidate, state.update
    again = stopped(state)
    if update.state != "probation" or candidate is None or state.active is None:
        return again
    count = state.interrupted.get(candidate.digest, 0) + 1
    if count < _MAX_INTERRUPTED:
        return msgspec.structs.replace(again, interrupted={candidate.digest: count})
    reason = f"the device went down {count} times while it was on probation"
    return msgspec.structs.replace(
        again,
        update=UpdateState("rolled_back", candidate.version, reason, update.since),
        refused=_with_refused(state.refused, candidate.digest, reason),
        interrupted={},
    )


def _refuse_unless_next(state: PipelineState, entered: State) -> None:
    if state.update.state not in _BEFORE[entered]:
        raise IllegalTransition(f"an update that is {state.update.state} cannot become {entered}")


def _candidate_after(state: PipelineState, entered: State) -> Slot:
    _refuse_unless_next(state, entered)
    if state.candidate is None:
        raise IllegalTransition(f"there is no candidate to become {entered}")
    return state.candidate


def _at(state: PipelineState, entered: State, version: str | None, reason: str | None, now: float) -> UpdateState:
    # The same news again keeps its time, so that a poll which changes nothing writes nothing.
    known, reason = state.update, None if reason is None else brief(reason)
    if (known.state, known.version, known.reason) == (entered, version, reason):
        return known
    return UpdateState(entered, version, reason, now)


def _with_refused(refused: dict[str, str], digest: str, reason: str) -> dict[str, str]:
    others = [(known, why) for known, why in refused.items() if known != digest]
    return dict([*others, (digest, brief(reason))][-_MAX_REFUSED:])
