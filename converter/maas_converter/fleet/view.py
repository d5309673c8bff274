"""What the devices of a fleet say of themselves on the broker: messages in, a picture out. No I/O."""

from typing import Any

import msgspec

from maas_agent.base.alarms import Alarm, alarms_of
from maas_agent.base.untrusted import MALFORMED

ONLINE = "online"
MOST_ROWS = 100_000
"""Devices and their pipelines that are followed, together: a broker can speak of more than there are."""
MORE = f"more than {MOST_ROWS:,} devices and pipelines are spoken of"
_MOST_BYTES = 1 << 20
"""Of a document: a state has the whole table of trials, with reasons."""
_MOST_GROUPS, _MOST_PIPELINES = 64, 256
_LONGEST_REASON = 500
_LONGEST = 255
"""Characters of any other text that is kept: no version has more."""
_ON_THE_WAY = ("pulling", "verifying", "staged", "testing", "shadow", "probation")


class Running(msgspec.Struct):
    """One pipeline of a device, from its state topic."""

    pipeline: str
    model: str | None = None
    active: str | None = None
    candidate: str | None = None
    serving: bool = False
    accelerator: str | None = None
    state: str = "init"
    version: str | None = None
    reason: str | None = None

    @property
    def serves(self) -> str | None:
        """The version that answers: on probation it is the candidate's."""
        return self.candidate if self.state == "probation" and self.candidate else self.active

    def has_to_do_with(self, version: str) -> bool:
        """Whether it runs ``version``, or is on the way to it."""
        return self.serves == version or (self.version == version and self.state in _ON_THE_WAY)


class FleetDevice(msgspec.Struct):
    """One device. ``seen`` is the newest time it gave (RFC 3339); ``latency_ms`` p50 and p99 by pipeline."""

    id: str
    status: str = "unknown"
    groups: tuple[str, ...] = ()
    agent: str | None = None
    seen: str = ""
    running: dict[str, Running] = {}
    latency_ms: dict[str, tuple[float, float]] = {}
    alarms: list[Alarm] = []

    @property
    def online(self) -> bool:
        """Whether it is connected right now."""
        return self.status == ONLINE

    def of_model(self, model: str) -> list[Running]:
        """Its pipelines that run ``model``. An agent that does not name the model names the pipeline after it."""
        return [each for each in self.running.values() if (each.model or each.pipeline) == model]


class _Slot(msgspec.Struct, frozen=True):
    version: str


class _Update(msgspec.Struct, frozen=True):
    state: str = "init"
    version: str | None = None
    reason: str | None = None


class _State(msgspec.Struct, frozen=True):
    pipeline: str
    model: str | None = None
    active: _Slot | None = None
    candidate: _Slot | None = None
    serving: bool = False
    accelerator: str | None = None
    update: _Update = _Update()


class _Status(msgspec.Struct, frozen=True):
    status: str
    groups: tuple[str, ...] | None = None
    agent: str | None = None
    time: str = ""
    alarms: Any = None


class _Latency(msgspec.Struct, frozen=True):
    p50: float | None = None
    p99: float | None = None


class _Figures(msgspec.Struct, frozen=True):
    latency_ms: _Latency = _Latency()


class _Metrics(msgspec.Struct, frozen=True):
    time: str = ""
    pipelines: dict[str, _Figures] = {}


class FleetView:
    """All devices under one topic root, as far as they have been heard."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.devices: dict[str, FleetDevice] = {}
        self._rows = 0
        self.is_full = False
        """Whether there was more than `MOST_ROWS`: what came after that is not in it."""

    @property
    def filters(self) -> list[str]:
        """What to subscribe to."""
        return [f"{self._root}/+/status", f"{self._root}/+/+/state", f"{self._root}/+/metrics"]

    def hear(self, topic: str, payload: bytes) -> bool:
        """Take a message in; whether it was one of a device. What is malformed, or empty, is nobody's."""
        if not topic.startswith(f"{self._root}/") or len(payload) > _MOST_BYTES:
            return False
        levels = topic.removeprefix(f"{self._root}/").split("/")
        try:
            match levels:
                case [device, "status"]:
                    self._status(device, msgspec.json.decode(payload, type=_Status))
                case [device, "metrics"]:
                    self._metrics(device, msgspec.json.decode(payload, type=_Metrics))
                case [device, pipeline, "state"] if not payload:
                    self._gone(device, pipeline)
                    return False
                case [device, _, "state"]:
                    self._state(device, msgspec.json.decode(payload, type=_State))
                case _:
                    return False
        except MALFORMED:
            return False
        return True

    def of_group(self, group: str) -> list[FleetDevice]:
        """Its devices, by id."""
        return sorted((each for each in self.devices.values() if group in each.groups), key=lambda each: each.id)

    def _device(self, name: str) -> FleetDevice:
        """The device; one that is kept nowhere if there are too many."""
        if name not in self.devices and self._has_room():
            self.devices[name] = FleetDevice(name)
        return self.devices.get(name) or FleetDevice(name)

    def _has_room(self) -> bool:
        """Take a row, if there is one left."""
        self.is_full = self.is_full or self._rows >= MOST_ROWS
        self._rows += not self.is_full
        return not self.is_full

    def _status(self, name: str, said: _Status) -> None:
        device = self._device(name)
        device.status = said.status[:_LONGEST]
        device.seen = max(device.seen, said.time[:_LONGEST])
        if said.groups is not None:
            device.groups = tuple(group[:_LONGEST] for group in said.groups[:_MOST_GROUPS])
        device.agent = (said.agent or device.agent or "")[:_LONGEST] or None  # the Last Will does not know it
        device.alarms = alarms_of(said.alarms)

    def _metrics(self, name: str, said: _Metrics) -> None:
        device = self._device(name)
        device.seen = max(device.seen, said.time[:_LONGEST])
        for pipeline, figures in said.pipelines.items():
            latency = figures.latency_ms
            if latency.p50 is not None and latency.p99 is not None and len(device.latency_ms) < _MOST_PIPELINES:
                device.latency_ms[pipeline[:_LONGEST]] = (latency.p50, latency.p99)

    def _gone(self, name: str, pipeline: str) -> None:
        """The device has cleared the state of a pipeline that it does not have any more."""
        if name in self.devices and self.devices[name].running.pop(pipeline, None) is not None:
            self._rows -= 1

    def _state(self, name: str, said: _State) -> None:
        running, pipeline = self._device(name).running, said.pipeline[:_LONGEST]
        if pipeline not in running and not self._has_room():
            return
        running[pipeline] = Running(
            pipeline=pipeline,
            model=_cut(said.model),
            active=_cut(said.active.version) if said.active else None,
            candidate=_cut(said.candidate.version) if said.candidate else None,
            serving=said.serving,
            accelerator=_cut(said.accelerator),
            state=said.update.state[:_LONGEST],
            version=_cut(said.update.version),
            reason=_cut(said.update.reason, _LONGEST_REASON),
        )


def _cut(text: str | None, longest: int = _LONGEST) -> str | None:
    return None if text is None else text[:longest]
