"""One pipeline in the hub: what becomes of its inputs and answers, and of workers that die."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maas_agent.base.log import Log
from maas_agent.config import MqttSource, PipelineSettings
from maas_agent.errors import DataError
from maas_agent.hub.pipeline import state_document
from maas_agent.hub.placement.placement import Placement
from maas_agent.hub.placement.quarantine import Quarantine
from maas_agent.hub.serving.dead_letters import DeadLetters
from maas_agent.hub.serving.intake import Intake
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.replies import Replies, Samples
from maas_agent.hub.serving.request import Request
from maas_agent.hub.serving.switch import Switch
from maas_agent.hub.serving.worker_pool import Deadlines, PoolListener, WorkerPool
from maas_agent.hub.serving.worker_process import WorkerProcess
from maas_agent.hub.system.cgroups import MemoryGroups
from maas_agent.hub.system.loop import Loop, every
from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot
from maas_agent.hub.takeover.state_store import StateStore
from maas_agent.hub.takeover.takeover import OnDone, Takeover
from maas_agent.ipc import Answer, SourceIs, Start
from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trials
from maas_agent.update.protocol import Outcome, PullProgress

_HEARTBEATS_A_DEADLINE = 4
_EXPIRE_S = 1.0
"""How often waiting inputs are looked at; what a worker is about to get is looked at anyway."""

_BRING_AGAIN = "it is brought again as soon as its source offers it, or by 'maas-agent install' of its file"

OnRestarted = Callable[[str | None], None]
"""Called with the reason if it failed."""


class Pipeline:
    """Keeps one bundle serving.

    ``on_change`` is called when what the state topic says has changed, ``on_judged`` when a probation has ended,
    ``on_not_whole`` when a worker cannot serve because files of the bundle are damaged or missing.
    """

    def __init__(
        self,
        loop: Loop,
        settings: PipelineSettings,
        device: str,
        store: Path,
        samples: Samples,
        log: Log,
        on_change: Callable[["Pipeline"], None],
        on_judged: Callable[[], None],
        on_not_whole: Callable[["Pipeline"], None],
        groups: MemoryGroups | None,
    ) -> None:
        self.settings, self.metrics = settings, PipelineMetrics()
        self._loop, self._device, self._store, self._log = loop, device, store, log
        self._state_store = StateStore(store, settings.name, lambda: on_change(self), log)
        self._replies = Replies(device, settings.name, samples, self.metrics)
        self._on_change, self._on_judged, self._groups = on_change, on_judged, groups
        self._on_not_whole = on_not_whole
        self._intake = Intake(settings, self._replies, self.metrics, DeadLetters(store, settings.name, log), log)
        self._dispatcher = self._intake.dispatcher
        self._switch = Switch(loop, self._dispatcher, self)
        self._takeover = Takeover(loop, settings, self._state_store, self._switch, self, log)
        self._placement = Placement(
            loop,
            store,
            settings.name,
            settings.terms(),
            Quarantine(settings.quarantine_window_s, settings.quarantine_s),
            self._tried_again,
            self._settle,
            log,
        )
        self._on_restarted: list[tuple[WorkerPool | None, OnRestarted]] = []
        """Who waits for another pool than the one that served when they asked."""
        self._runs: str | None = None
        self._stopping = False
        self._trouble: str | None = None
        every(loop, _EXPIRE_S, self._dispatcher.expire)
        loop.at_turn_end(self._switch.turn_end)
        loop.at_turn_end(self._takeover.turn_end)

    def start(self) -> None:
        """Serve the active bundle, if there is one."""
        active = self.slots.active
        if active is None:
            self._trouble = "waiting for the first bundle"
            return
        self._switch.install(self.make_pool(active, gentle=False))
        self.now_runs(active)

    # ------------------------------------------------------------- how it is

    @property
    def slots(self) -> PipelineState:
        """Its bundles, and how far an update has come."""
        return self._state_store.state

    @property
    def serving(self) -> bool:
        """Whether a worker answers."""
        return self._switch.ready

    @property
    def healthy(self) -> bool:
        """Whether no worker has been silent for longer than the supervisor should have allowed."""
        return self._switch.healthy

    @property
    def updating(self) -> bool:
        """Whether a candidate is just taking over."""
        return self._takeover.in_progress

    @property
    def is_judging(self) -> bool:
        """Whether a candidate serves on trial: no other one is looked for until that has ended.

        One whose source is silent may be on trial for ever: what is newer takes its place.
        """
        return self._takeover.on_probation and not self._takeover.waits_for_samples

    @property
    def newest_version(self) -> str | None:
        """The version that serves, or will if nothing is wrong with it."""
        newest = self.slots.candidate if self.slots.update.state in ("shadow", "probation") else self.slots.active
        return newest.version if newest else None

    @property
    def dropped(self) -> int:
        """Inputs that a full queue has cost."""
        return self._dispatcher.dropped

    @property
    def trouble(self) -> str | None:
        """Why it does not serve, if it does not."""
        if self.serving:
            return None
        failure = self._switch.failure
        return f"{failure}; {_BRING_AGAIN}" if failure and self._switch.lacks_files else failure or self._trouble

    @property
    def source(self) -> SourceIs | None:
        """How its local source is; ``None`` if its samples come by MQTT alone."""
        if isinstance(self.settings.source, MqttSource):
            return None
        pool = self._switch.pool
        if pool is None or not pool.any_ready:
            return SourceIs("waiting", self.trouble or "no worker is ready yet")
        return pool.source or SourceIs("waiting", "it has not been started yet")

    @property
    def alarms(self) -> list[str]:
        """What a person should know of it."""
        source = self.source
        if source is None or source.state != "failed":
            return []
        return [f"the source of pipeline {self.settings.name} has failed: {source.reason}"]

    def state(self) -> dict[str, Any]:
        """The document of the state topic."""
        pool = self._switch.pool
        running = pool if pool is not None and pool.any_ready else None
        ready = running.count_ready if running else 0
        return {
            **state_document.bundles(self.settings.name, self.settings.model, self.slots, serving=self.serving),
            **state_document.running(running),
            "replicas": {"wanted": self.settings.replicas, "ready": ready},
            "quarantine": [state_document.rest(rest) for rest in self._placement.rests],
            "trials": state_document.trials(self.slots.serving.trials if self.slots.serving else None),
            "source": state_document.source(self.source),
            "update": state_document.update(self.slots.update) | self._takeover.document(),
            "trouble": self.trouble,
        }

    # ------------------------------------------------------------- inputs and answers

    def submit(self, request: Request, *, size: int | None = None) -> None:
        """Take a request; see `Intake.submit`."""
        if self._intake.submit(request, size=size):
            self._takeover.submitted(request)

    def refuse(self, request: Request, code: str, message: str) -> None:
        """Answer a request with an error without showing it to a worker."""
        self._intake.refuse(request, code, message)

    def answered(self, request: Request | None, answer: Answer) -> None:
        """A worker has answered a request, or a sample of its own source."""
        self._takeover.answered(request, answer)
        if request is None:
            self._replies.report(answer)
        else:
            self._intake.answered(request, answer)

    def given_up(self, request: Request, pool: WorkerPool, how: str) -> None:
        """A request has ended two workers."""
        self._intake.given_up(request, pool, how)

    # ------------------------------------------------------------- workers

    def make_pool(
        self, slot: Slot, listener: PoolListener | None = None, *, gentle: bool, replicas: int = 0
    ) -> WorkerPool:
        """Workers for a bundle, on the setup that is best now; ``listener`` is the one that serves unless given."""
        settings, setup = self.settings, self._placement.setup_for(slot)
        deadlines = self._deadlines(slot, setup)
        start = Start(
            device=self._device,
            pipeline=settings.name,
            store=str(self._store),
            manifest=slot.digest,
            setup=setup,
            limits=settings.terms().limits,
            form=settings.source.content if isinstance(settings.source, MqttSource) else None,
            source=settings.source,
            max_payload_bytes=settings.max_payload_bytes,
            heartbeat_s=deadlines.inference_s / _HEARTBEATS_A_DEADLINE,
        )
        return WorkerPool(
            self._loop,
            start,
            slot.version,
            replicas or settings.replicas,
            deadlines,
            listener or self._switch,
            self._log,
            gentle=gentle,
            groups=self._groups,
        )

    def _deadlines(self, slot: Slot, setup: Setup) -> Deadlines:
        asked, placement = self.settings.deadline_s, self._placement
        inference_s = placement.deadline_s(slot, setup) if asked == "auto" else asked
        return Deadlines(inference_s, placement.start_deadline_s(slot, setup))

    def serves(self, pool: WorkerPool) -> None:
        """A pool answers that did not before."""
        self._trouble = None
        self._takeover.serves(pool)
        self._restarted(None, by=pool)
        self._on_change(self)

    def died(self, pool: WorkerPool, worker: WorkerProcess, how: str) -> None:
        """A worker of the serving pool has died."""
        self.metrics.restarts += 1
        self._trouble = f"the worker {how}"
        slot = self.slots.serving
        if slot is None or self._stopping or self._takeover.died(pool, how):
            pass  # nobody moves, or the bundle before it is back already
        elif self._switch.lacks_files:
            self._on_not_whole(self)  # no other way to run it would help
        elif self._placement.died(slot, pool.setup, how):
            self._settle()
        self._on_change(self)

    def refused(self, pool: WorkerPool, reason: str) -> None:
        """A pool that was to take over cannot."""
        if not self._takeover.refused(pool, reason):
            self._log.error("cannot move", pipeline=self.settings.name, setup=pool.setup, reason=reason)
            if self._switch.lacks_files:
                self._on_not_whole(self)
            elif self._switch.pool is not None and self._switch.pool.setup != pool.setup:
                self._placement.refused(pool.setup, reason)
            self._on_change(self)
        self._restarted(reason)

    def source_changed(self) -> None:
        """The local source gives samples, or has stopped to."""
        self._on_change(self)

    def _settle(self) -> None:
        """Run the bundle that serves on the setup that is best now; an update on its way will do so anyway."""
        slot, pool = self.slots.serving, self._switch.pool
        if slot is None or self._stopping:
            return
        wanted = self._placement.setup_for(slot)
        settled = pool is not None and pool.setup == wanted and pool.start.manifest == slot.digest
        if not settled and not self.updating:
            if pool is None or not pool.any_ready:
                self._switch.install(self.make_pool(slot, gentle=False))
            else:
                self._switch.when_free(lambda: self._bring(slot))
        self._on_change(self)

    def _tried_again(self, digest: str, trials: Trials) -> None:
        self._state_store.become(pipeline_state.tried_again(self.slots, digest, trials), even_unsaved=True)
        if self.slots.serving is not None:
            self._placement.runs(self.slots.serving)
        self._settle()

    def _bring(self, slot: Slot) -> None:
        if not self._stopping:
            self._switch.bring(self.make_pool(slot, gentle=self.serving))

    def restart(self, on_restarted: OnRestarted) -> None:
        """Replace the workers by new ones without losing an input."""
        if self.slots.serving is None or self._stopping:
            on_restarted("there is no bundle to serve")
        elif self.updating or self._switch.coming is not None:
            on_restarted("another worker is taking over right now")
        else:
            self._on_restarted.append((self._switch.pool, on_restarted))
            self._bring(self.slots.serving)

    def _restarted(self, reason: str | None, by: WorkerPool | None = None) -> None:
        """Tell those who waited: ``by`` has taken over, or it failed for a reason."""
        waiting, self._on_restarted = self._on_restarted, []
        for before, on_restarted in waiting:
            if reason is None and before is by:
                self._on_restarted.append((before, on_restarted))  # only a worker of the old pool came back
            else:
                on_restarted(reason)

    # ------------------------------------------------------------- updates

    def progress(self, event: PullProgress) -> None:
        """The puller is about to take a step: persist it, then tell."""
        self._takeover.make_way()
        active = self.slots.active
        if active is not None and active.digest == event.digest:
            raise DataError(f"{event.version} is on its way, and serves already")  # since the candidate has made way
        self._state_store.become(pipeline_state.progressed(self.slots, event, time.time()))
        self._takeover.overtaken()

    def conclude(self, outcome: Outcome) -> None:
        """The puller's last word."""
        now = time.time()
        if outcome.revoked:
            self._state_store.become(pipeline_state.informed(self.slots, outcome.revoked), even_unsaved=True)
        match outcome.result:
            case "current":
                self._state_store.become(pipeline_state.current(self.slots, outcome, now), even_unsaved=True)
            case "failed":
                self._log.error(
                    "update failed", pipeline=self.settings.name, version=outcome.version, reason=outcome.reason
                )
                self._state_store.become(pipeline_state.failed(self.slots, outcome, now), even_unsaved=True)
            case "tested":
                self._restarted("an update is taking over")
                self._takeover.tested(outcome)
        if outcome.mended:
            self._log.warning("bundle brought again", pipeline=self.settings.name, reason=outcome.reason)
            self._load_again()

    def _load_again(self) -> None:
        """The files of the bundle that serves were damaged or missing, and are whole again: nobody runs on the old."""
        slot, pool = self.slots.serving, self._switch.pool
        if slot is None or self._stopping or self.updating:
            return
        if pool is None or not pool.any_ready:
            self._switch.install(self.make_pool(slot, gentle=False))
            self.now_runs(slot)
        else:
            self._switch.when_free(lambda: self._bring(slot))

    def roll_back(self, reason: str, done: OnDone = lambda _reason: None) -> None:
        """Go back to the bundle before the newest one, and set that aside until a newer one comes."""
        self._takeover.roll_back(reason, done)

    def now_runs(self, slot: Slot) -> None:
        """Another bundle serves."""
        self.metrics.swaps += self._runs not in (None, slot.digest)
        self._runs = slot.digest
        self._placement.runs(slot)

    def judged(self) -> None:
        """A probation has ended: other bundles may be looked for again."""
        self._on_judged()

    # ------------------------------------------------------------- the end

    def drain(self, done: Callable[[], None]) -> None:
        """Take nothing new, answer what is there, then call ``done``."""
        self._stopping = True
        self._placement.stop()
        self._takeover.stop()
        self._switch.drain(done)

    @property
    def ended(self) -> bool:
        """Whether every worker has gone, after `stop`."""
        return self._switch.ended

    def stop(self) -> None:
        """Let the workers end."""
        self._stopping = True
        self._placement.stop()
        self._switch.stop()
