"""Devices without workers: the hub's own link, topics, desired state, update states and documents, many in one process.

What stands in is the puller and the workers: a version is there some moments after it was chosen, and then serves or
fails, as ``fate`` says.
"""

import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from maas_agent.base.log import SilentLog
from maas_agent.config import (
    BrokerSettings,
    Config,
    DeviceSettings,
    PipelineSettings,
    RepositorySettings,
    StoreSettings,
)
from maas_agent.hub import health
from maas_agent.hub.api.desired_state import DesiredStates
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.health import Health
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.pipeline import state_document
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot
from maas_agent.update.protocol import Outcome, PullProgress

MODEL, GROUP, FIRST = "digits", "all", "1.0.0"
REASON = "the golden samples deviate by 0.7, allowed is 0.02"
STEPS = ("pulling", "verifying", "staged", "testing")
Fate = Callable[[str, str], str | None]
"""Device and version to the reason why it fails there, or ``None``."""


class ControlPlane:
    """One device with one pipeline. It begins with ``first``, and takes what the desired state names."""

    def __init__(
        self, loop: Loop, folder: Path, broker_url: str, device: str, groups: tuple[str, ...], first: str, fate: Fate
    ) -> None:
        self.id, self._groups, self._loop, self._fate = device, groups, loop, fate
        self.settings = PipelineSettings(name=MODEL, model=MODEL)
        config = Config(
            device=DeviceSettings(device, groups),
            broker=BrokerSettings(url=broker_url, reconnect_max_s=5.0),
            store=StoreSettings(str(folder)),
            repository=RepositorySettings(root="root.json", url="file:///nowhere"),
            pipeline=(self.settings,),
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.state = PipelineState(
            active=_slot(first), update=pipeline_state.UpdateState("active", first, None, time.time())
        )
        self._topics = Topics(config)
        log = SilentLog("sim")  # a thousand devices would drown whoever reads
        will = Outbound(self._topics.status, msgspec.json.encode(health.offline(device, groups)), 1, True)
        self.link = Link(loop, config.broker, f"maas-{device}", will, self._topics.subscriptions(), 1 << 16, self, log)
        outbox = Outbox(loop, self.link, config.outbox, None, lambda: None, log)
        self._health = Health(loop, device, groups, [], outbox, folder, lambda: None)
        self._desired_states = DesiredStates(loop, folder, self._topics, device, log)
        self.published = 0
        loop.at_turn_end(self.link.flush)

    def start(self) -> None:
        """Connect."""
        self.link.start()
        self._desired_states.watch([self])

    def stop(self) -> None:
        """Say farewell."""
        self.link.stop(
            Outbound(self._topics.status, msgspec.json.encode(health.stopped(self.id, self._groups)), 0, True)
        )

    # ------------------------------------------------------------- the link's listener

    def link_up(self) -> None:
        """Birth."""
        self._publish(self._topics.status, self._health.online())
        self._tell()

    def link_down(self) -> None:
        """Nothing waits."""

    def acknowledged(self, number: int) -> None:
        """Nothing waits."""

    def inbound(self, message: Inbound) -> None:
        """The desired state."""
        message.acknowledge()
        if message.topic in self._topics.desired:
            self._desired_states.received(message.topic, message.payload, message.cut_bytes, [self], self)

    # ------------------------------------------------------- what desired states see of a pipeline and of the updates

    @property
    def newest_version(self) -> str | None:
        """As `maas_agent.hub.pipeline.pipeline.Pipeline` has it."""
        newest = self.state.candidate if self.state.update.state == "probation" else self.state.active
        return newest.version if newest else None

    def roll_back(self, reason: str, done: Callable[[str | None], None]) -> None:
        """Back to the version before."""
        try:
            self._become(pipeline_state.rolled_back(self.state, reason, time.time()))
        except pipeline_state.IllegalTransition as error:
            done(str(error))
        else:
            done(None)

    def check(self) -> None:
        """Take the version that is named, if it is another one and has not failed here."""
        version = self._desired_states.of(MODEL).version
        unknown = (
            version is not None and version != self.newest_version and _slot(version).digest not in self.state.refused
        )
        if unknown and self.state.update.state in ("active", "failed", "rolled_back"):
            self._step(version, 0)

    def _step(self, version: str, number: int) -> None:
        slot, now = _slot(version), time.time()
        if number < len(STEPS):
            progress = PullProgress(MODEL, STEPS[number], version, slot.digest)
            self._become(pipeline_state.progressed(self.state, progress, now))
            self._loop.after(random.uniform(0.05, 0.3), lambda: self._step(version, number + 1))
            return
        reason = self._fate(self.id, version)
        told = SimpleNamespace(version=version, digest=slot.digest, trials=None, reason=reason, set_aside=True)
        outcome: Outcome = told  # type: ignore[assignment]
        if reason is not None:
            self._become(pipeline_state.failed(self.state, outcome, now))
            self.check()
        else:
            self._become(pipeline_state.tested(self.state, outcome, now))
            self._loop.after(random.uniform(0.05, 0.3), self._activate)

    def _activate(self) -> None:
        if self.state.update.state != "probation":
            return  # it was withdrawn meanwhile
        self._become(pipeline_state.activated(self.state, time.time()))
        self.check()  # something else may be wanted by now

    # ------------------------------------------------------------- what is told

    def _become(self, state: PipelineState) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        document = {
            **state_document.bundles(MODEL, MODEL, self.state, serving=True),
            **state_document.running(None),
            "update": state_document.update(self.state.update),
        }
        self._publish(self._topics.state(MODEL), document)

    def _publish(self, topic: str, document: dict[str, Any]) -> None:
        if self.link.connected:
            self.published += 1
            self.link.publish(Outbound(topic, msgspec.json.encode(document), 0, True))


def _slot(version: str) -> Slot:
    return Slot(version, version.replace(".", "").ljust(64, "0"))


def main() -> None:
    """``python -m bench.control_planes URL FOLDER COUNT [BAD,BAD…]``.

    Prints ``ready`` when all are connected, and at the end how many messages they published.
    """
    url, folder, count, *more = sys.argv[1:]
    bad = set(more[0].split(",")) if more else set()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def fate(device: str, version: str) -> str | None:
        return REASON if device in bad and version != FIRST else None

    loop = Loop()
    planes = [ControlPlane(loop, Path(folder) / name, url, name, (GROUP,), FIRST, fate) for name in names(int(count))]
    for number, plane in enumerate(planes):
        loop.after(number * 0.004, plane.start)  # a thread looks each name up: not all at once
    signal.signal(signal.SIGTERM, lambda *_: loop.call(lambda: _end(loop, planes)))
    _tell_when_ready(loop, planes)
    loop.run()
    print(sum(plane.published for plane in planes), "messages", flush=True)


def names(count: int) -> list[str]:
    """The ids of so many devices."""
    return [f"device-{number:04}" for number in range(count)]


def _tell_when_ready(loop: Loop, planes: list[ControlPlane]) -> None:
    if all(plane.link.connected for plane in planes):
        print("ready", flush=True)
    else:
        loop.after(0.1, lambda: _tell_when_ready(loop, planes))


def _end(loop: Loop, planes: list[ControlPlane]) -> None:
    for plane in planes:
        plane.stop()
    loop.stop()


if __name__ == "__main__":
    main()
