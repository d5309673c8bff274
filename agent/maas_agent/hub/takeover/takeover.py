"""Leads a tested candidate to be the active bundle: the shadow, the switch, the probation, and the way back.

What serves is what `PipelineState.serving` says. On probation the candidate serves, and the bundle before it stands by:
whatever happens to the candidate, or to the device, that one is back.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from maas_agent.base.documents import rfc3339
from maas_agent.config import MqttSource, PipelineSettings
from maas_agent.hub.serving.request import Nobody, Request
from maas_agent.hub.serving.switch import SourceChanged, Switch
from maas_agent.hub.serving.worker_pool import OnPoolEvent, WorkerPool
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.answer_statistics import AnswerStatistics, AnswerSummary, worse
from maas_agent.hub.takeover.pipeline_state import IllegalTransition, Slot
from maas_agent.hub.takeover.shadow import Shadow
from maas_agent.hub.takeover.state_store import StateStore
from maas_agent.ipc import Answer, Mirror
from maas_agent.update.protocol import Outcome

_LOOK_S = 0.25
_RETRY_S = 30.0

OnDone = Callable[[str | None], None]
"""Called with the reason if it failed."""


class MakePool(Protocol):
    """Makes workers for a bundle."""

    def __call__(
        self, slot: Slot, on_event: OnPoolEvent | None = None, *, gentle: bool, replicas: int = 0
    ) -> WorkerPool:
        """Workers whose events ``on_event`` gets; that and ``replicas`` are the pipeline's own unless given."""
        ...


class NowRuns(msgspec.Struct, frozen=True):
    """Another bundle serves."""

    slot: Slot


class ProbationEnded(msgspec.Struct, frozen=True):
    """A probation has ended: other bundles may be looked for again."""


TakeoverEvent = NowRuns | ProbationEnded | SourceChanged
OnTakeoverEvent = Callable[[TakeoverEvent], None]


class Probation:
    """What is remembered while a candidate serves on trial.

    Where there is a local source the candidate has to answer it. Until it has, the trial goes on: a source without
    samples says nothing of the bundle, neither good nor bad.
    """

    def __init__(self, before: AnswerSummary, seconds: float, *, needs_samples: bool) -> None:
        self.before, self.crashes = before, 0
        self.needs_samples, self.waits_for_samples = needs_samples, False
        self._seconds = seconds
        self.prolong(seconds)

    def prolong(self, seconds: float) -> None:
        """Let it end so many seconds from now."""
        self.ends_at = time.monotonic() + seconds

    def wait_for_samples(self) -> bool:
        """Begin anew, because the source has given nothing; whether that is news."""
        is_news, self.waits_for_samples = not self.waits_for_samples, True
        self.prolong(self._seconds)
        return is_news

    def answered_sample(self) -> bool:
        """A sample of the source was answered; whether that was waited for."""
        was_waited_for, self.waits_for_samples, self.needs_samples = self.waits_for_samples, False, False
        return was_waited_for

    def document(self, conduct: AnswerSummary) -> dict[str, Any]:
        """How it goes, for the state topic."""
        return {
            "until": rfc3339(time.time() + self.ends_at - time.monotonic()),
            "answers": conduct.answers,
            "errors": conduct.errors,
            "crashes": self.crashes,
            "waits_for_samples": self.waits_for_samples,
        }


class Takeover:
    """Leads one pipeline through its takeovers. The `StateStore` says how far it is, `Switch` switches."""

    def __init__(
        self,
        services: Services,
        settings: PipelineSettings,
        state_store: StateStore,
        switch: Switch,
        make_pool: MakePool,
        on_event: OnTakeoverEvent,
    ) -> None:
        self._loop, self._log = services.loop, services.log
        self._name, self._terms = settings.name, settings.update
        self._state_store, self._switch = state_store, switch
        self._make_pool, self._on_event = make_pool, on_event
        self._has_source = not isinstance(settings.source, MqttSource)
        self._statistics = AnswerStatistics()
        self._shadow: Shadow | None = None
        self._figures: dict[str, Any] | None = None
        """What the latest shadow came to."""
        self._probation: Probation | None = None
        self._going_back: list[OnDone] = []
        self._stopped = False

    # ------------------------------------------------------------- how it is

    @property
    def in_progress(self) -> bool:
        """Whether a candidate, or the bundle before, is about to take over: its workers load, or the switch is on."""
        return bool(self._going_back) or self._is_awaited

    @property
    def _is_awaited(self) -> bool:
        return self.on_probation and self._probation is None

    @property
    def on_probation(self) -> bool:
        """Whether a candidate serves on trial, or is about to."""
        return self._state_store.state.update.state == "probation"

    @property
    def waits_for_samples(self) -> bool:
        """Whether a candidate serves on trial and its source is silent, so that nobody knows how long that takes."""
        return self._probation is not None and self._probation.waits_for_samples

    def document(self) -> dict[str, Any]:
        """The figures for the state topic: of the shadow also after it has ended, of the probation while it lasts."""
        return {
            "shadow": self._shadow.document() if self._shadow else self._figures,
            "probation": self._probation.document(self._statistics.summary()) if self._probation else None,
        }

    # ------------------------------------------------------------- what the pipeline tells

    def tested(self, outcome: Outcome) -> None:
        """The puller has staged a bundle that reproduces its golden samples."""
        shadow = self._terms.shadow is not None and self._switch.ready and self._state_store.state.active is not None
        self._state_store.become(pipeline_state.tested(self._state_store.state, outcome, time.time(), shadow=shadow))
        self._figures = None
        self._gone_back("an update is taking over")
        if shadow:
            self._begin_shadow()
        else:
            self._switch.when_free(self._bring)

    def make_way(self) -> None:
        """Another bundle is on its way: a candidate that waits for samples goes, and nothing is held against it."""
        active = self._state_store.state.active
        if not self.waits_for_samples or active is None:
            return
        self._log.info("probation ended without a sample: another bundle is on its way", pipeline=self._name)
        self._state_store.become(pipeline_state.stopped(self._state_store.state))
        self._return_to(active)

    def overtaken(self) -> None:
        """A newer bundle is on its way: the candidate in the shadow makes room."""
        if self._shadow is not None:
            self._end_shadow()

    def submitted(self, request: Request) -> None:
        """An input goes to the workers."""
        if self._shadow is not None:
            self._shadow.submit(request)

    def answered(self, request: Request | None, answer: Answer) -> None:
        """Whoever serves has answered."""
        self._statistics.add(answer)
        is_sample = request is None and answer.code is None
        if is_sample and self._probation is not None and self._probation.answered_sample():
            self._on_event(SourceChanged())
        if self._shadow is not None:
            if request is None:
                self._mirrored(answer)
            self._shadow.answered(answer.id if request is None else request.id, answer)

    def turn_end(self) -> None:
        """At the end of every turn of the loop."""
        if self._shadow is not None:
            self._shadow.turn_end()

    def serves(self, pool: WorkerPool) -> None:
        """A pool answers that did not before; it may be the candidate's."""
        if self._shadow is not None:
            self._mirror(pool)
        state = self._state_store.state
        if self._is_awaited and state.candidate is not None and pool.start.manifest == state.candidate.digest:
            self._begin_probation(state.candidate)

    def died(self, pool: WorkerPool, how: str) -> bool:
        """A worker of the serving pool died; whether that was the end of the candidate's probation."""
        probation, candidate = self._probation, self._state_store.state.candidate
        if probation is None or candidate is None or pool.start.manifest != candidate.digest:
            return False
        probation.crashes += 1
        if probation.crashes <= self._terms.max_crashes:
            return False
        self._fall_back(
            f"on probation its worker {how}{_times(probation.crashes)}; allowed is {self._terms.max_crashes}"
        )
        return True

    def refused(self, pool: WorkerPool, reason: str) -> bool:
        """A pool that was to take over cannot; whether it was this one's."""
        state = self._state_store.state
        if self._going_back and state.previous is not None and pool.start.manifest == state.previous.digest:
            self._gone_back(f"the previous bundle cannot serve: {reason}")
            return True
        candidate = state.candidate
        if not self._is_awaited or candidate is None or candidate.digest != pool.start.manifest:
            return False
        if self._switch.lacks_files:
            self._fail(reason, set_aside=False)  # the disk's fault: what is lacking is brought by the next check
            return True
        self._log.error("candidate refused", pipeline=self._name, reason=reason)
        refuse = pipeline_state.rolled_back if state.active is not None else pipeline_state.refused
        self._state_store.become(refuse(state, reason, time.time()), even_unsaved=True)
        return True

    def stop(self) -> None:
        """The agent ends in good order."""
        self._stopped = True
        self._end_shadow()
        self._probation = None
        self._state_store.become(pipeline_state.stopped(self._state_store.state), even_unsaved=True)

    # ------------------------------------------------------------- the shadow

    def _begin_shadow(self) -> None:
        candidate, terms = self._state_store.state.candidate, self._terms.shadow
        if candidate is None or terms is None:
            return

        def make(on_event: OnPoolEvent) -> WorkerPool:
            return self._make_pool(candidate, on_event, gentle=True, replicas=1)

        self._shadow = Shadow(self._loop, terms, make, self._judged)
        if self._switch.pool is not None:
            self._mirror(self._switch.pool)
        self._log.info("candidate in the shadow", pipeline=self._name, version=candidate.version, samples=terms.samples)

    def _mirror(self, pool: WorkerPool) -> None:
        pool.tell(Mirror(self._shadow is not None))

    def _mirrored(self, answer: Answer) -> None:
        """A sample of the local source: the worker that has the source passes it on with its answer."""
        if answer.sample is not None and self._shadow is not None:
            payload, content_type = answer.sample
            now = time.time()
            self._shadow.submit(Request(answer.id, payload, content_type, now, time.monotonic(), Nobody()))

    def _judged(self, reason: str | None) -> None:
        if self._shadow is None or self._stopped:
            return
        figures = self._figures = self._shadow.document()
        self._end_shadow()
        state = self._state_store.state
        if reason is None:
            self._log.info("candidate promoted", pipeline=self._name, **figures)
            try:
                self._state_store.become(pipeline_state.promoted(state, time.time()))
            except OSError as error:
                self._fail(f"its promotion cannot be saved: {error.strerror}", set_aside=False)
                return
            self._switch.when_free(self._bring)
        else:
            self._fail(reason, set_aside=True)

    def _fail(self, reason: str, *, set_aside: bool) -> None:
        candidate = self._state_store.state.candidate
        if candidate is None:
            return
        self._log.error("candidate refused", pipeline=self._name, version=candidate.version, reason=reason)
        outcome = Outcome(
            pipeline=self._name,
            result="failed",
            state="shadow",
            version=candidate.version,
            digest=candidate.digest,
            reason=reason,
            set_aside=set_aside,
        )
        self._state_store.become(
            pipeline_state.failed(self._state_store.state, outcome, time.time()), even_unsaved=True
        )

    def _end_shadow(self) -> None:
        shadow, self._shadow = self._shadow, None
        if shadow is not None:
            shadow.stop()
            if self._switch.pool is not None:
                self._mirror(self._switch.pool)

    # ------------------------------------------------------------- the switch, and the probation

    def _bring(self) -> None:
        candidate = self._state_store.state.candidate
        if candidate is None or self._stopped:
            return
        pool = self._make_pool(candidate, gentle=self._switch.ready)
        keeps_old = self._has_probation and self._terms.standby
        self._switch.bring(pool, self._before_switch, keeps_old=keeps_old)

    @property
    def _has_probation(self) -> bool:
        return self._terms.probation_s > 0 and self._state_store.state.active is not None

    def _before_switch(self) -> None:
        # What is not persisted must not serve. Of a probation that is so already, and a cut ends it.
        if not self._has_probation:
            self._activate()

    def _begin_probation(self, candidate: Slot) -> None:
        self._probation = Probation(self._statistics.summary(), self._terms.probation_s, needs_samples=self._has_source)
        self._statistics = AnswerStatistics()
        self._on_event(NowRuns(candidate))
        self._log.info("bundle on probation", pipeline=self._name, version=candidate.version, s=self._terms.probation_s)
        self._loop.after(_LOOK_S, partial(self._look, self._probation))

    def _look(self, probation: Probation) -> None:
        if probation is not self._probation:
            return
        reason = worse(probation.before, self._statistics.summary(), self._terms)
        if reason is not None:
            self._fall_back(f"on probation {reason}")
            return
        if time.monotonic() >= probation.ends_at and not self._must_wait(probation):
            self._pass(probation)
        self._loop.after(_LOOK_S, partial(self._look, probation))

    def _must_wait(self, probation: Probation) -> bool:
        """Whether nothing is known of the candidate yet: then its time begins anew."""
        if not probation.needs_samples:
            return False
        if probation.wait_for_samples():
            self._log.warning("probation goes on: the source has given no sample", pipeline=self._name)
            self._on_event(SourceChanged())
        return True

    def _pass(self, probation: Probation) -> None:
        try:
            self._activate()
        except OSError:  # a full disk: the way back stays open until there is room
            probation.ends_at += _RETRY_S
            return
        self._probation = None
        self._switch.dismiss()
        self._on_event(ProbationEnded())

    def _activate(self) -> None:
        self._state_store.become(pipeline_state.activated(self._state_store.state, time.time()))
        active = self._state_store.state.active
        if active is not None:
            self._log.info("bundle active", pipeline=self._name, version=active.version)
            self._on_event(NowRuns(active))

    # ------------------------------------------------------------- the way back

    def roll_back(self, reason: str, done: OnDone = lambda _reason: None) -> None:
        """Go back to what served before the newest bundle, and set that aside until a newer one comes."""
        if self._shadow is not None:
            self._end_shadow()
            self._fail(reason, set_aside=True)
            done(None)
        elif self._probation is not None:
            self._fall_back(reason)
            done(None)
        elif self.in_progress or self._stopped:
            done("another bundle is taking over right now: try again")
        else:
            self._go_back(reason, done)

    def _fall_back(self, reason: str) -> None:
        """The candidate on probation goes; what it holds is answered by the bundle before it."""
        self._probation = None
        self._log.error("bundle rolled back", pipeline=self._name, reason=reason)
        self._state_store.become(
            pipeline_state.rolled_back(self._state_store.state, reason, time.time()), even_unsaved=True
        )
        active = self._state_store.state.active
        if active is not None:
            self._return_to(active)
        self._on_event(ProbationEnded())

    def _return_to(self, active: Slot) -> None:
        self._probation = None
        self._statistics = AnswerStatistics()
        self._on_event(NowRuns(active))
        self._switch.fall_back(lambda: self._make_pool(active, gentle=False))

    def _go_back(self, reason: str, done: OnDone) -> None:
        try:
            pipeline_state.rolled_back(self._state_store.state, reason, time.time())  # is there a way back?
        except IllegalTransition as error:
            done(str(error))
            return
        self._going_back.append(done)
        self._switch.when_free(lambda: self._bring_previous(reason))

    def _bring_previous(self, reason: str) -> None:
        previous = self._state_store.state.previous
        if previous is None or self._stopped:
            self._gone_back("there is no bundle to roll back to")
            return

        def before_switch() -> None:
            self._state_store.become(pipeline_state.rolled_back(self._state_store.state, reason, time.time()))
            self._log.error("bundle rolled back", pipeline=self._name, reason=reason)
            self._on_event(NowRuns(previous))
            self._statistics = AnswerStatistics()
            self._gone_back(None)

        self._switch.bring(self._make_pool(previous, gentle=self._switch.ready), before_switch, keeps_old=False)

    def _gone_back(self, reason: str | None) -> None:
        waiting, self._going_back = self._going_back, []
        for done in waiting:
            done(reason)


def _times(count: int) -> str:
    return "" if count == 1 else f" ({count} have died)"
