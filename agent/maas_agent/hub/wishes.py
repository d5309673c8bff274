"""What the broker's desired-state topics ask of this device, and what follows from it.

A wish chooses among what the repository offers; the puller decides whether it may. What is withdrawn goes at once.
"""

import random
from collections.abc import Iterable
from pathlib import Path

from maas_agent import desired
from maas_agent.desired import Choice, Desired
from maas_agent.errors import DataError
from maas_agent.hub.loop import Loop
from maas_agent.hub.once import Once
from maas_agent.hub.pipeline import Pipeline
from maas_agent.hub.topics import Topics
from maas_agent.hub.updates import Updates
from maas_agent.log import Log

_LOOK_S = 2.0
"""How often it is seen whether what runs was withdrawn: a switch may have been in the way."""
_SPREAD_S = 3.0
"""The devices of a group do not all come to the repository at once."""


class Wishes:
    """Keeps what was published, also over restarts, and obeys."""

    def __init__(self, loop: Loop, store: Path, topics: Topics, device: str, log: Log) -> None:
        self._loop, self._store, self._topics, self._device, self._log = loop, store, topics, device, log
        self._desired: Desired = self._loaded()
        self._once = Once(log)
        self._soon = False

    def of(self, model: str | None) -> Choice:
        """What is wanted of ``model`` here."""
        if model is None:
            return Choice()
        return desired.chosen(self._desired, self._topics.desired[0], self._device, model)

    def watch(self, pipelines: Iterable[Pipeline]) -> None:
        """Take what is withdrawn out of service, now and whenever it should run again."""
        for pipeline in pipelines:
            self._withdraw(pipeline)
        self._loop.after(_LOOK_S, lambda: self.watch(pipelines))

    def received(
        self, topic: str, payload: bytes, cut_bytes: int, pipelines: Iterable[Pipeline], updates: Updates
    ) -> None:
        """A document has arrived, or (an empty payload) one was taken back; ``cut_bytes``: it was too large to keep."""
        try:
            if cut_bytes:
                raise DataError(f"it has {cut_bytes} bytes, at most {desired.MAX_BYTES} are read")
            now = desired.received(self._desired, topic, payload)
        except DataError as error:
            text = f"the desired state on {topic} is ignored: {error}"
            cause = "".join(character for character in text if not character.isdigit())  # sizes and offsets are none
            self._once.error(cause, text)
            return
        if now == self._desired:
            return  # it is retained: every connect brings it again
        self._desired = now
        self._log.info("desired state", topic=topic)
        try:
            desired.save(self._store, now)
        except OSError as error:
            self._log.error("cannot save the desired state", reason=error.strerror)
        for pipeline in pipelines:
            self._withdraw(pipeline)
        self._check_soon(0.0 if topic == self._topics.desired[0] else random.uniform(0.0, _SPREAD_S), updates)

    def _check_soon(self, wait_s: float, updates: Updates) -> None:
        if self._soon:
            return
        self._soon = True

        def check() -> None:
            self._soon = False
            updates.check()

        self._loop.after(wait_s, check)

    def _withdraw(self, pipeline: Pipeline) -> None:
        version = pipeline.newest_version
        if version is None or version not in self.of(pipeline.settings.model).withdrawn:
            return

        def done(reason: str | None) -> None:
            if reason is not None:
                text = f"pipeline {pipeline.settings.name} still runs {version}, which is withdrawn: {reason}"
                self._once.error(text, text)

        pipeline.roll_back(f"{version} was withdrawn", done)

    def _loaded(self) -> Desired:
        try:
            return desired.load(self._store, self._topics.desired)
        except DataError as error:
            self._log.error("the desired state is forgotten until the broker sends it again", reason=error)
            return {}
