"""Keeps one bundle of a pipeline serving: the supervisor of its workers, their placement and updates."""

import time
from collections.abc import Callable
from typing import assert_never

import msgspec

from maas_agent.config import MqttSource, PipelineSettings
from maas_agent.errors import DataError
from maas_agent.hub.placement.placement import Placement, PlacementEvent, Settled, Tried
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.switch import (
    Answered,
    GivenUp,
    SampleAnswered,
    Serves,
    ServingWorkerDied,
    SourceChanged,
    Switch,
    SwitchEvent,
    TakeoverRefused,
)
from maas_agent.hub.serving.worker_pool import Deadlines, OnPoolEvent, WorkerPool
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot
from maas_agent.hub.takeover.state_store import StateStore
from maas_agent.hub.takeover.takeover import NowRuns, OnDone, ProbationEnded, Takeover, TakeoverEvent
from maas_agent.ipc import Start
from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trials
from maas_agent.update.protocol import Outcome, PullProgress

_HEARTBEATS_A_DEADLINE = 4

WAITS = "waiting for the first bundle"
"""Why nothing serves where nothing went wrong."""
_BRING_AGAIN = "it is brought again as soon as its source offers it, or by 'maas-agent install' of its file"

OnRestarted = Callable[[str | None], None]
"""Called with the reason if it failed."""


class Changed(msgspec.Struct, frozen=True):
    """What the state document says has changed."""


class NotWhole(msgspec.Struct, frozen=True):
    """A worker cannot serve because files of the bundle are damaged or missing."""


SupervisorEvent = Answered | SampleAnswered | GivenUp | Changed | ProbationEnded | NotWhole
OnSupervisorEvent = Callable[[SupervisorEvent], None]


class Supervisor:
    """Decides which bundle serves, on which setup, and what becomes of workers that die or are refused."""

    def __init__(
        self,
        services: Services,
        settings: PipelineSettings,
        dispatcher: Dispatcher,
        metrics: PipelineMetrics,
        on_event: OnSupervisorEvent,
    ) -> None:
        self._services, self._settings, self._on_event = services, settings, on_event
        self._metrics, self._log = metrics, services.log
        self._state_store = StateStore(services.store, settings.name, self._changed, services.log)
        self.switch = Switch(services.loop, dispatcher, self._on_switch)
        self.takeover = Takeover(services, settings, self._state_store, self.switch, self._make_pool, self._on_takeover)
        self.placement = Placement(services, settings, self._on_placement)
        self._on_restarted: list[tuple[WorkerPool | None, OnRestarted]] = []
        """Who waits for another pool than the one that served when they asked."""
        self._runs: str | None = None
        self._stopping = False
        self._trouble: str | None = None
        services.loop.at_turn_end(self.switch.turn_end)
        services.loop.at_turn_end(self.takeover.turn_end)

    @property
    def slots(self) -> PipelineState:
        """Its bundles, and how far an update has come."""
        return self._state_store.state

    @property
    def trouble(self) -> str | None:
        """Why nothing serves, if nothing does."""
        if self.switch.ready:
            return None
        failure = self.switch.failure
        return f"{failure}; {_BRING_AGAIN}" if failure and self.switch.lacks_files else failure or self._trouble

    def start(self) -> None:
        """Serve the active bundle, if there is one."""
        active = self.slots.active
        if active is None:
            self._trouble = WAITS
            return
        self.switch.install(self._make_pool(active, gentle=False))
        self._now_runs(active)

    def drain(self, done: Callable[[], None]) -> None:
        """Take nothing new, answer what is there, then call ``done``."""
        self._stopping = True
        self.placement.stop()
        self.takeover.stop()
        self.switch.drain(done)

    def stop(self) -> None:
        """Let the workers end."""
        self._stopping = True
        self.placement.stop()
        self.switch.stop()

    # ------------------------------------------------------------- what its parts tell

    def _on_switch(self, event: SwitchEvent) -> None:
        match event:
            case Answered(request, answer):
                self.takeover.answered(request, answer)
                self._on_event(event)
            case SampleAnswered(answer):
                self.takeover.answered(None, answer)
                self._on_event(event)
            case GivenUp():
                self._on_event(event)
            case Serves(pool):
                self._trouble = None
                self.takeover.serves(pool)
                self._restarted(None, by=pool)
                self._changed()
            case ServingWorkerDied(pool, how):
                self._worker_died(pool, how)
            case TakeoverRefused(pool, reason):
                self._refused(pool, reason)
            case SourceChanged():
                self._changed()
            case _:
                assert_never(event)

    def _on_takeover(self, event: TakeoverEvent) -> None:
        match event:
            case NowRuns(slot):
                self._now_runs(slot)
            case ProbationEnded():
                self._on_event(event)
            case SourceChanged():
                self._changed()
            case _:
                assert_never(event)

    def _on_placement(self, event: PlacementEvent) -> None:
        match event:
            case Tried(digest, trials):
                self._tried_again(digest, trials)
            case Settled():
                self._settle()
            case _:
                assert_never(event)

    def _changed(self) -> None:
        self._on_event(Changed())

    def _worker_died(self, pool: WorkerPool, how: str) -> None:
        self._metrics.restarts += 1
        self._trouble = f"the worker {how}"
        slot = self.slots.serving
        if slot is None or self._stopping or self.takeover.died(pool, how):
            pass  # nobody moves, or the bundle before it is back already
        elif self.switch.lacks_files:
            self._on_event(NotWhole())  # no other way to run it would help
        elif self.placement.died(slot, pool.setup, how):
            self._settle()
        self._changed()

    def _refused(self, pool: WorkerPool, reason: str) -> None:
        if not self.takeover.refused(pool, reason):
            self._log.error("cannot move", pipeline=self._settings.name, setup=pool.setup, reason=reason)
            if self.switch.lacks_files:
                self._on_event(NotWhole())
            elif self.switch.pool is not None and self.switch.pool.setup != pool.setup:
                self.placement.refused(pool.setup, reason)
            self._changed()
        self._restarted(reason)

    def _now_runs(self, slot: Slot) -> None:
        self._metrics.swaps += self._runs not in (None, slot.digest)
        self._runs = slot.digest
        self.placement.runs(slot)

    def _settle(self) -> None:
        """Run the bundle that serves on the setup that is best now; an update on its way will do so anyway."""
        slot, pool = self.slots.serving, self.switch.pool
        if slot is None or self._stopping:
            return
        wanted = self.placement.setup_for(slot)
        settled = pool is not None and pool.setup == wanted and pool.start.manifest == slot.digest
        if not settled and not self.takeover.in_progress:
            if pool is None or not pool.any_ready:
                self.switch.install(self._make_pool(slot, gentle=False))
            else:
                self.switch.when_free(lambda: self._bring(slot))
        self._changed()

    def _tried_again(self, digest: str, trials: Trials) -> None:
        self._state_store.become(pipeline_state.tried_again(self.slots, digest, trials), even_unsaved=True)
        if self.slots.serving is not None:
            self.placement.runs(self.slots.serving)
        self._settle()

    def _bring(self, slot: Slot) -> None:
        if not self._stopping:
            self.switch.bring(self._make_pool(slot, gentle=self.switch.ready))

    def restart(self, on_restarted: OnRestarted) -> None:
        """Replace the workers by new ones without losing an input."""
        if self.slots.serving is None or self._stopping:
            on_restarted("there is no bundle to serve")
        elif self.takeover.in_progress or self.switch.coming is not None:
            on_restarted("another worker is taking over right now")
        else:
            self._on_restarted.append((self.switch.pool, on_restarted))
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
        self.takeover.make_way()
        active = self.slots.active
        if active is not None and active.digest == event.digest:
            raise DataError(f"{event.version} is on its way, and serves already")  # since the candidate has made way
        self._state_store.become(pipeline_state.progressed(self.slots, event, time.time()))
        self.takeover.overtaken()

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
                    "update failed", pipeline=self._settings.name, version=outcome.version, reason=outcome.reason
                )
                self._state_store.become(pipeline_state.failed(self.slots, outcome, now), even_unsaved=True)
            case "tested":
                self._restarted("an update is taking over")
                self.takeover.tested(outcome)
        if outcome.mended:
            self._log.warning("bundle brought again", pipeline=self._settings.name, reason=outcome.reason)
            self._load_again()

    def _load_again(self) -> None:
        """The files of the bundle that serves were damaged or missing, and are whole again: nobody runs on the old."""
        slot, pool = self.slots.serving, self.switch.pool
        if slot is None or self._stopping or self.takeover.in_progress:
            return
        if pool is None or not pool.any_ready:
            self.switch.install(self._make_pool(slot, gentle=False))
            self._now_runs(slot)
        else:
            self.switch.when_free(lambda: self._bring(slot))

    def roll_back(self, reason: str, done: OnDone = lambda _reason: None) -> None:
        """Go back to the bundle before the newest one, and set that aside until a newer one comes."""
        self.takeover.roll_back(reason, done)

    # ------------------------------------------------------------- pools

    def _make_pool(
        self, slot: Slot, on_event: OnPoolEvent | None = None, *, gentle: bool, replicas: int = 0
    ) -> WorkerPool:
        """Workers for a bundle, on the setup that is best now; the switch gets their events unless it is said who."""
        settings, setup = self._settings, self.placement.setup_for(slot)
        deadlines = self._deadlines(slot, setup)
        start = Start(
            device=self._services.device,
            pipeline=settings.name,
            store=str(self._services.store),
            manifest=slot.digest,
            setup=setup,
            limits=settings.terms().limits,
            form=settings.source.content if isinstance(settings.source, MqttSource) else None,
            source=settings.source,
            max_payload_bytes=settings.max_payload_bytes,
            heartbeat_s=deadlines.inference_s / _HEARTBEATS_A_DEADLINE,
        )
        return WorkerPool(
            self._services,
            start,
            slot.version,
            replicas or settings.replicas,
            deadlines,
            on_event or self.switch.handle,
            gentle=gentle,
        )

    def _deadlines(self, slot: Slot, setup: Setup) -> Deadlines:
        asked, placement = self._settings.deadline_s, self.placement
        inference_s = placement.deadline_s(slot, setup) if asked == "auto" else asked
        return Deadlines(inference_s, placement.start_deadline_s(slot, setup))
