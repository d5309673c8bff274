"""Obeys the desired states that the broker holds for this device.

A desired state chooses among what the repository offers; the puller decides whether it may. What is withdrawn goes at
once.
"""

import random
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from maas_agent.base.log import Log
from maas_agent.bundle import desired_state
from maas_agent.bundle.desired_state import Choice, Desired
from maas_agent.errors import DataError
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.hub.system.log_limiter import LogLimiter
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.updates.scheduler import UpdateScheduler

_LOOK_S = 2.0
"""How often it is seen whether what runs was withdrawn: a switch may have been in the way."""
_TAKE_S = 1.0
"""So often documents are taken: each is parsed, written to the disk, and starts a puller."""
_MOST_KEPT = 4
"""Of those that arrive on a topic in between: the last one counts, unless it is none, or older."""
_SPREAD_S = 3.0
"""The devices of a group do not all come to the repository at once."""


class DesiredStates:
    """Keeps what was published, also over restarts, and obeys."""

    def __init__(self, loop: Loop, store: Path, topics: Topics, device: str, log: Log) -> None:
        self._loop, self._store, self._topics, self._device, self._log = loop, store, topics, device, log
        self._desired: Desired = self._loaded()
        self._log_limiter = LogLimiter(log)
        self._soon = False
        self._arrived: dict[str, deque[bytes]] = {}
        """By topic, what was not looked at yet."""
        self._due, self._taken_at = False, float("-inf")

    def of(self, model: str | None) -> Choice:
        """What is wanted of ``model`` here."""
        if model is None:
            return Choice()
        return desired_state.chosen(self._desired, self._topics.desired[0], self._device, model)

    def watch(self, pipelines: Iterable[Pipeline]) -> None:
        """Take what is withdrawn out of service, now and whenever it should run again."""
        for pipeline in pipelines:
            self._withdraw(pipeline)
        self._loop.after(_LOOK_S, lambda: self.watch(pipelines))

    def received(
        self, topic: str, payload: bytes, cut_bytes: int, pipelines: Iterable[Pipeline], updates: UpdateScheduler
    ) -> None:
        """A document has arrived, or (an empty payload) one was taken back; ``cut_bytes``: it was too large to keep.

        Whoever publishes many must not keep the disk and the puller busy: once a second the newest are taken, and
        obeyed then. One after a silence is taken at once.
        """
        if cut_bytes:
            self._ignore(topic, DataError(f"it has {cut_bytes} bytes, at most {desired_state.MAX_BYTES} are read"))
            return
        self._arrived.setdefault(topic, deque(maxlen=_MOST_KEPT)).append(payload)
        if not self._due:
            self._due = True
            wait_s = max(0.0, self._taken_at + _TAKE_S - time.monotonic())
            self._loop.after(wait_s, lambda: self.obey(pipelines, updates))

    def stop(self) -> None:
        """The agent ends: what has arrived is kept for the next start."""
        self._take()

    def obey(self, pipelines: Iterable[Pipeline], updates: UpdateScheduler) -> None:
        """Take what has arrived now: it is time, or somebody has asked for a look who said it before."""
        changed = self._take()
        if not changed:
            return  # it is retained: every connect brings it again
        for pipeline in pipelines:
            self._withdraw(pipeline)
        is_own = self._topics.desired[0] in changed
        self._check_soon(0.0 if is_own else random.uniform(0.0, _SPREAD_S), updates)

    def _take(self) -> list[str]:
        """Take what has arrived, and persist it; the topics on which something is desired that was not before."""
        self._due, self._taken_at = False, time.monotonic()
        arrived, self._arrived = self._arrived, {}
        before = self._desired
        for topic, payloads in arrived.items():
            for payload in payloads:
                try:
                    self._desired = desired_state.received(self._desired, topic, payload)
                except DataError as error:
                    self._ignore(topic, error)
        changed = [topic for topic in arrived if self._desired.get(topic) != before.get(topic)]
        if changed:
            self._log.info("desired state", topic=", ".join(changed))
            self._save()
        return changed

    def _save(self) -> None:
        try:
            desired_state.save(self._store, self._desired)
        except OSError as error:
            self._log_limiter.error(error.errno, "cannot save the desired state", reason=error.strerror)

    def _ignore(self, topic: str, error: DataError) -> None:
        text = f"the desired state on {topic} is ignored: {error}"
        cause = "".join(character for character in text if not character.isdigit())  # sizes and offsets are none
        self._log_limiter.error(cause, text)

    def _check_soon(self, wait_s: float, updates: UpdateScheduler) -> None:
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
                self._log_limiter.error(text, text)

        pipeline.roll_back(f"{version} was withdrawn", done)

    def _loaded(self) -> Desired:
        try:
            return desired_state.load(self._store, self._topics.desired)
        except DataError as error:
            self._log.error("the desired state is forgotten until the broker sends it again", reason=error)
            return {}
