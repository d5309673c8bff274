"""A staged rollout as a state machine: what it is, what the devices make of it, what comes next. No I/O.

Which device is in which stage is its `maas_agent.bundle.desired_state.position`; so a stage has the same devices for
everybody who looks, and a larger one all of those that the smaller one had.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from maas_agent.bundle.desired_state import DesiredModel, position
from maas_converter.fleet.view import FleetDevice

State = Literal["running", "stopped", "aborted", "done", "rolled_back"]
ENDED: tuple[State, ...] = ("stopped", "aborted", "done", "rolled_back")
_ON_TRIAL = ("testing", "shadow", "probation")
"""Update states in which the new version is at work already: a device that goes silent there may be its victim."""


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands; kept on the broker, in the desired state it writes. Times are Unix time in seconds.

    ``stages`` are percentages that end with 100; ``max_failures`` is one of a stage's devices. ``since`` is when the
    present stage began, ``soaking`` since when nothing in it is pending.
    """

    id: str
    version: str
    stages: tuple[float, ...]
    soak_s: float
    patience_s: float
    max_failures: float
    on_failure: Literal["stop", "rollback"] = "stop"
    stage: int = 0
    state: State = "running"
    since: float = 0.0
    soaking: float | None = None
    reason: str | None = None
    leader: str = ""
    """Which operator wrote it: another one that leads it has been overtaken."""

    @property
    def percent(self) -> float:
        """Percent of the devices that the version was given to by now."""
        return self.stages[self.stage]


class RolloutProgress(msgspec.Struct, frozen=True):
    """What the devices of the present stage, and of those before it, have made of the version; ids, sorted."""

    done: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    offline: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    """With the reasons."""

    @property
    def reached(self) -> int:
        """Devices that have had their say."""
        return len(self.done) + len(self.failed)

    @property
    def size(self) -> int:
        """All devices of the stage."""
        return self.reached + len(self.pending) + len(self.offline)


def desired_model(rollout: Rollout) -> DesiredModel:
    """What the devices are told."""
    notes = msgspec.to_builtins(rollout)
    if rollout.state == "rolled_back":
        return DesiredModel(withdrawn=(rollout.version,), salt=rollout.id, rollout=notes)
    return DesiredModel(version=rollout.version, percent=rollout.percent, salt=rollout.id, rollout=notes)


def rollout_of(desired: DesiredModel | None) -> Rollout | None:
    """The rollout that a desired model carries; ``None`` if there is none, or one that this program cannot read."""
    if desired is None or desired.rollout is None:
        return None
    try:
        found = msgspec.convert(desired.rollout, Rollout)
    except msgspec.ValidationError:
        return None
    return found if found.stages and 0 <= found.stage < len(found.stages) else None


def members(rollout: Rollout, devices: Iterable[FleetDevice], model: str) -> list[FleetDevice]:
    """The devices that are to have the version by now: those that run the model, up to the stage's percentage."""
    return [each for each in devices if each.of_model(model) and position(rollout.id, each.id) < rollout.percent]


def progress(
    rollout: Rollout, devices: Iterable[FleetDevice], model: str, now: float, were_done: frozenset[str] = frozenset()
) -> RolloutProgress:
    """How far the present stage is. One that tries it or ``were_done``, and is gone without a word, has failed.

    (One that was stopped in good order has not: somebody did that.)
    """
    done, pending, offline = list[str](), list[str](), list[str]()
    failed = dict[str, str]()
    late = now - rollout.since > rollout.patience_s
    for device in members(rollout, devices, model):
        reason = _failure(device, rollout, model)
        if reason is not None:
            failed[device.id] = reason
        elif (silent := _silent(device, rollout, model, were_done)) is not None:
            failed[device.id] = silent
        elif not device.online:
            offline.append(device.id)
        elif _is_done(device, rollout, model):
            done.append(device.id)
        elif late:
            failed[device.id] = f"not there after {rollout.patience_s:g} s: {_where(device, model)}"
        else:
            pending.append(device.id)
    return RolloutProgress(
        tuple(sorted(done)), tuple(sorted(pending)), tuple(sorted(offline)), dict(sorted(failed.items()))
    )


def step(rollout: Rollout, found: RolloutProgress, now: float) -> Rollout:
    """Decide what comes next, after what was ``found``; returns ``rollout`` itself if nothing does."""
    if rollout.state != "running":
        return rollout
    if too_many(rollout, found):
        state: State = "rolled_back" if rollout.on_failure == "rollback" else "stopped"
        return msgspec.structs.replace(rollout, state=state, since=now, soaking=None, reason=_verdict(rollout, found))
    if found.pending:
        return msgspec.structs.replace(rollout, soaking=None)
    if found.size and rollout.soaking is None:
        return msgspec.structs.replace(rollout, soaking=now)
    if found.size and rollout.soaking is not None and now - rollout.soaking < rollout.soak_s:
        return rollout
    if rollout.stage + 1 < len(rollout.stages):
        return msgspec.structs.replace(rollout, stage=rollout.stage + 1, since=now, soaking=None)
    return msgspec.structs.replace(rollout, state="done", since=now, soaking=None)


def too_many(rollout: Rollout, found: RolloutProgress) -> bool:
    """Whether more have failed than may: of all devices of the stage, so that the first one to fail is not 100 %.

    The bound is a percentage of a stage; where that is less than one device, one is too many.
    """
    return bool(found.failed) and len(found.failed) * 100 > rollout.max_failures * found.size


def _failure(device: FleetDevice, rollout: Rollout, model: str) -> str | None:
    for each in device.of_model(model):
        if each.version == rollout.version and each.state in ("failed", "rolled_back"):
            return f"{each.state}: {each.reason}"
        if each.active != rollout.version and (each.reason or "").startswith(f"{rollout.version} is wanted, but"):
            return str(each.reason)
    return None


def _silent(device: FleetDevice, rollout: Rollout, model: str, were_done: frozenset[str]) -> str | None:
    if device.status != "offline":
        return None
    if device.id in were_done:
        return f"went offline while it ran {rollout.version}"
    for each in device.of_model(model):
        if each.version == rollout.version and each.state in _ON_TRIAL:
            return f"went offline while it tried {rollout.version} ({each.state})"
    return None


def _is_done(device: FleetDevice, rollout: Rollout, model: str) -> bool:
    return all(
        each.active == rollout.version and each.state == "active" and each.serving for each in device.of_model(model)
    )


def _where(device: FleetDevice, model: str) -> str:
    return "; ".join(
        f"{each.pipeline} is {each.state} {each.version or ''}".rstrip() + (f" ({each.reason})" if each.reason else "")
        for each in device.of_model(model)
    )


def _verdict(rollout: Rollout, found: RolloutProgress) -> str:
    return (
        f"{len(found.failed)} of {found.size} devices failed in stage {rollout.stage + 1} ({rollout.percent:g} %); "
        f"allowed are {rollout.max_failures:g} %"
    )
