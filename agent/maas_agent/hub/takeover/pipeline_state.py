"""Holds what a pipeline runs, ran before and tries next, and how far an update is: rules without I/O.

The transitions are pure: a state in, a state out, `IllegalTransition` if it does not follow. The hub saves the new
state, and only then acts on it. It imports this: neither ``tuf`` nor NumPy is needed.

    init ─▶ pulling ─▶ verifying ─▶ staged ─▶ testing ─▶ shadow? ─▶ probation ─▶ active
      any of them ─▶ failed(reason)           probation, active ─▶ rolled_back(reason)

On probation the candidate serves, and what served before is still the active one: a cut brings that back.
"""

import msgspec

from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, brief
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

UNFINISHED: tuple[State, ...] = ("pulling", "verifying", "staged", "testing", "shadow", "probation")
_ON_TRIAL: tuple[State, ...] = ("shadow", "probation")
_MAX_REFUSED = 64
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
    if state.update.state in UNFINISHED:
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
    if state.update.state not in UNFINISHED:
        return state
    return msgspec.structs.replace(state, candidate=None, update=UpdateState(since=state.update.since))


def _refuse_revoked(revoked: dict[str, str], back: str, bad: str) -> None:
    """What was revoked was to end: a broker that withdraws what runs must not lead back to it, or behind it."""
    if back in revoked:
        raise IllegalTransition(f"{back} is no way back, it was revoked: {revoked[back]}")
    between = [version for version in revoked if parse_version(back) < parse_version(version) < parse_version(bad)]
    if between:
        raise IllegalTransition(f"{back} is no way back, it is older than {between[0]}, which was revoked")


def started_over(state: PipelineState) -> PipelineState:
    """Start over what the end of the agent has interrupted; a bundle that took the device down too often is refused."""
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
