"""Leading a rollout: the desired state goes out, the devices' states come in, and step follows step.

Where the rollout stands is in the retained desired state itself, in one message with what the devices are told. So
whoever leads it may go at any time, and whoever comes may go on.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from maas_agent.bundle.desired_state import DesiredModel, Document, decode_desired, encode_desired
from maas_agent.errors import DataError, UnavailableError, UsageError
from maas_converter.fleet.broker import BrokerConnection
from maas_converter.fleet.rollout import ENDED, Rollout, RolloutProgress, desired_model, progress, rollout_of, step
from maas_converter.fleet.view import MORE, FleetDevice, FleetView

_TURN_S = 0.25

Show = Callable[[Rollout, RolloutProgress], None]
"""Called at every turn."""


class Aim(msgspec.Struct, frozen=True):
    """Whom a rollout is for: a ``group``, or one ``device``; exactly one is set."""

    root: str
    model: str
    group: str | None = None
    device: str | None = None

    @property
    def topic(self) -> str:
        """The desired state that it writes."""
        return f"{self.root}/groups/{self.group}/desired" if self.group else f"{self.root}/{self.device}/desired"

    @property
    def words(self) -> str:
        """The aim in words, for a person."""
        return f"group {self.group}" if self.group else f"device {self.device}"


class Operator:
    """Leads the rollout of one model on one topic."""

    def __init__(self, broker: BrokerConnection, aim: Aim, view: FleetView) -> None:
        self._broker, self._aim, self._view = broker, aim, view
        self._document = Document(0)
        self._name = uuid.uuid4().hex[:12]
        self._were_done: frozenset[str] = frozenset()
        for topic, payload in broker.retained():
            self._hear(topic, payload)

    @property
    def rollout(self) -> Rollout | None:
        """The rollout of this model that is on the broker."""
        return rollout_of(self._document.models.get(self._aim.model))

    @property
    def devices(self) -> list[FleetDevice]:
        """The devices that the rollout is for."""
        if self._aim.group is not None:
            return self._view.of_group(self._aim.group)
        return [each for each in self._view.devices.values() if each.id == self._aim.device]

    @property
    def found(self) -> RolloutProgress:
        """What they have made of it until now."""
        rollout = self.rollout
        return self._progress(rollout) if rollout is not None else RolloutProgress()

    def begin(self, rollout: Rollout) -> None:
        """Put a new rollout on the broker.

        Raises `DataError` if nobody would take it, or another one is under way.
        """
        under_way = self.rollout
        if under_way is not None and under_way.state not in ENDED:
            raise DataError(
                f"{self._aim.model} {under_way.version} is being rolled out to {self._aim.words} (stage "
                f"{under_way.stage + 1} of {len(under_way.stages)}): --resume, --abort or --rollback that first"
            )
        self._refuse_too_many()
        if not any(each.of_model(self._aim.model) for each in self.devices):
            known = ", ".join(sorted({group for each in self._view.devices.values() for group in each.groups}))
            raise DataError(
                f"no device of {self._aim.words} runs {self._aim.model}; "
                f"{len(self._view.devices)} devices are known, in the groups {known or '(none)'}"
            )
        self._publish(msgspec.structs.replace(rollout, id=rollout.id or uuid.uuid4().hex[:12], since=time.time()))

    def end(self, state: Any, reason: str) -> None:
        """Abort it or roll it back, whatever it does. Raises `UsageError` if there is none."""
        rollout = self.required()
        self._publish(msgspec.structs.replace(rollout, state=state, since=time.time(), soaking=None, reason=reason))

    def resume(self) -> None:
        """Let one that stopped, or was aborted, go on with its stage. Raises `UsageError` if there is none."""
        rollout = self.required()
        if rollout.state in ("done", "rolled_back"):
            raise UsageError(f"the rollout of {self._aim.model} {rollout.version} is {rollout.state}: begin a new one")
        if rollout.state != "running":
            resumed = {"state": "running", "since": time.time(), "soaking": None, "reason": None}
            rollout = msgspec.structs.replace(rollout, **resumed)
        self._publish(rollout)  # one that was running as well: whoever leads it sees that somebody else does now

    def required(self) -> Rollout:
        """The rollout; raises `UsageError` if there is none."""
        rollout = self.rollout
        if rollout is None:
            raise UsageError(f"no rollout of {self._aim.model} to {self._aim.words} is known to the broker")
        return rollout

    def lead(self, show: Show) -> Rollout:
        """Go on until it has ended; returns how. Raises `UnavailableError` if somebody else leads it from now on."""
        while True:
            for topic, payload in self._broker.messages(_TURN_S):
                self._hear(topic, payload)
            rollout = self.required()
            if rollout.leader != self._name and rollout.state not in ENDED:
                raise UnavailableError(f"somebody else leads the rollout of {self._aim.model} now: see --status")
            self._refuse_too_many()
            found = self._progress(rollout)
            self._were_done |= frozenset(found.done)
            show(rollout, found)
            if rollout.state in ENDED:
                return rollout
            following = step(rollout, found, time.time())
            # While the broker is away nothing is known to be as it was: nothing follows from it.
            if following != rollout and self._broker.connected:
                self._publish(following)

    def settle(self, show: Show) -> None:
        """After a rollback: wait until no device that is online runs the version any more, or is about to."""
        ends_at = time.monotonic() + self.required().patience_s
        while time.monotonic() < ends_at:
            rollout = self.required()
            running = [
                each.id
                for each in self.devices
                if each.online and any(one.has_to_do_with(rollout.version) for one in each.of_model(self._aim.model))
            ]
            show(rollout, RolloutProgress(pending=tuple(sorted(running))))
            if not running:
                return
            for topic, payload in self._broker.messages(_TURN_S):
                self._hear(topic, payload)
        raise UnavailableError(f"still run {rollout.version}: {', '.join(running)}")

    def _refuse_too_many(self) -> None:
        """Raise `DataError` if devices are left out: what is not followed would not be counted."""
        if self._view.is_full:
            raise DataError(f"on this broker {MORE}: no rollout is led that does not see all of its devices")

    def _progress(self, rollout: Rollout) -> RolloutProgress:
        return progress(rollout, self.devices, self._aim.model, time.time(), self._were_done)

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic != self._aim.topic:
            self._view.hear(topic, payload)
        elif payload:
            try:
                document = decode_desired(payload)
            except DataError:
                return  # somebody else's garbage: the next one that is published replaces it
            if document.serial >= self._document.serial:
                self._document = document
        else:
            self._document = Document(self._document.serial)

    def _publish(self, rollout: Rollout) -> None:
        """Publish what the devices are to run and where the rollout stands, in one message."""
        serial = max(time.time_ns() // 1_000_000, self._document.serial + 1)
        desired = desired_model(msgspec.structs.replace(rollout, leader=self._name))
        models: dict[str, DesiredModel] = {**self._document.models, self._aim.model: desired}
        self._document = Document(serial, models)
        self._broker.publish(self._aim.topic, encode_desired(self._document))
