"""Chooses where the active bundle runs: the best setup of its trials that is not in quarantine."""

import time
from collections.abc import Callable

import msgspec

from maas_agent.config import PipelineSettings
from maas_agent.hub.placement.quarantine import Quarantine, Rest
from maas_agent.hub.placement.trial_process import TrialProcess
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover.pipeline_state import Slot
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.hardware import fingerprint, runtime_version
from maas_agent.trials.record import Trials
from maas_agent.trials.task import Assignment, TrialReport

_LOOK_S = 0.5
_HARDWARE_S = 60.0
"""How often it is seen whether a stick was plugged in or pulled out."""
_SHORTEST_DEADLINE_S = 5.0
_P99S = 30.0
"""An inference that takes so many times what the slowest in a hundred took in the self-test hangs."""
_UNKNOWN_DEADLINE_S = 10.0
_SHORTEST_START_S = 15.0
_LOADS = 20.0
"""A worker that takes so many times what loading took in the self-test hangs: it starts on a device that is busy."""
_UNKNOWN_START_S = 120.0
_TRIAL_S = 120.0
_INFERENCES = 200
"""What a trial does not do more of."""


class Tried(msgspec.Struct, frozen=True):
    """A bundle has new trials."""

    digest: str
    trials: Trials


class Settled(msgspec.Struct, frozen=True):
    """An accelerator was tried again: another setup may be the best one now."""


PlacementEvent = Tried | Settled
OnPlacementEvent = Callable[[PlacementEvent], None]


class Placement:
    """Chooses the setup of one pipeline."""

    def __init__(self, services: Services, settings: PipelineSettings, on_event: OnPlacementEvent) -> None:
        self._loop, self._store, self._log = services.loop, services.store, services.log
        self._pipeline, self._terms, self._on_event = settings.name, settings.terms(), on_event
        self._quarantine = Quarantine(settings.quarantine_window_s, settings.quarantine_s)
        loop, terms = self._loop, self._terms
        self._tester: TrialProcess | None = None
        self._active: Slot | None = None
        self._stopped = False
        self._runtime, self._hardware = runtime_version(terms.library), fingerprint(terms.library)
        loop.after(_LOOK_S, self._look)
        loop.after(_HARDWARE_S, self._look_at_hardware)

    @property
    def rests(self) -> list[Rest]:
        """The accelerators in quarantine."""
        return self._quarantine.rests

    def setup_for(self, slot: Slot) -> Setup:
        """What to run ``slot`` on: without trials that it passed, the processor."""
        best = slot.trials.best(self._quarantine.accelerators) if slot.trials else None
        return best.setup if best else Setup(CPU, self._terms.threads or 1, {}, self._terms.library)

    def deadline_s(self, slot: Slot, setup: Setup) -> float:
        """After how many seconds one inference of ``slot`` is taken for hung."""
        trial = slot.trials.trial_of(setup) if slot.trials else None
        if trial is None or trial.p99_ms is None:
            return _UNKNOWN_DEADLINE_S
        return max(_SHORTEST_DEADLINE_S, _P99S * trial.p99_ms / 1000)

    def start_deadline_s(self, slot: Slot, setup: Setup) -> float:
        """After how many seconds a worker that has not loaded ``slot`` is taken for hung."""
        trial = slot.trials.trial_of(setup) if slot.trials else None
        if trial is None or trial.load_ms is None:
            return _UNKNOWN_START_S
        return max(_SHORTEST_START_S, _LOADS * trial.load_ms / 1000)

    def runs(self, slot: Slot) -> None:
        """``slot`` is the active one: it is tried again if its trials are not of this device, or not of these terms."""
        self._active = slot
        if not self._valid(slot.trials):
            self._try_again(slot, None)

    def died(self, slot: Slot, setup: Setup, how: str) -> bool:
        """A worker died on ``setup``; whether its accelerator is in quarantine now, and there is another one.

        The last one that there is never rests: an answer that comes late is better than none.
        """
        now = time.monotonic()
        if not self._quarantine.died(setup.accelerator, now):
            return False
        resting = self._quarantine.accelerators | {setup.accelerator}
        if setup.accelerator == CPU or slot.trials is None or slot.trials.best(resting) is None:
            return False
        self._rest(setup, f"its workers died twice, the last one {how}")
        return True

    def refused(self, setup: Setup, reason: str) -> None:
        """Workers that were to move to ``setup`` could not: its accelerator is tried again before the next attempt."""
        if setup.accelerator != CPU:
            self._rest(setup, reason)

    def stop(self) -> None:
        """No more trials."""
        self._stopped = True
        if self._tester is not None:
            self._tester.kill()

    def _valid(self, trials: Trials | None) -> bool:
        if trials is None:
            return False
        return (trials.runtime, trials.hardware, trials.terms) == (self._runtime, self._hardware, self._terms)

    def _look_at_hardware(self) -> None:
        if self._stopped:
            return
        self._loop.after(_HARDWARE_S, self._look_at_hardware)
        self._hardware = fingerprint(self._terms.library)
        if self._active is not None:
            self.runs(self._active)

    def _look(self) -> None:
        """Try what has rested for long enough."""
        if self._stopped:
            return
        self._loop.after(_LOOK_S, self._look)
        accelerator = self._quarantine.due(time.monotonic())
        slot = self._active
        if accelerator is None or slot is None or slot.trials is None or self._tester is not None:
            return
        best = next((row.setup for row in slot.trials.rows if row.setup.accelerator == accelerator), None)
        if best is None:  # the bundle that runs now has nothing to do with it
            self._quarantine.end(accelerator)
        else:
            self._try_again(slot, best)

    def _try_again(self, slot: Slot, setup: Setup | None) -> None:
        if self._tester is not None or self._stopped:
            return
        self._log.info("trying the bundle again", pipeline=self._pipeline, version=slot.version, setup=setup or "all")
        setups, seconds = (None, _TRIAL_S) if setup is None else ((setup,), self._retry_s(slot, setup))
        assignment = Assignment(str(self._store), slot.digest, self._terms, setups, seconds)

        def on_report(report: TrialReport) -> None:
            self._tester = None
            if self._stopped:
                return
            if setup is None:
                self._tried(slot, report)
            else:
                self._rested(setup, report)

        self._tester = TrialProcess(self._loop, assignment, on_report)

    def _retry_s(self, slot: Slot, setup: Setup) -> float:
        """How long a setup may take that is known: to load, and for the golden samples."""
        trial = slot.trials.trial_of(setup) if slot.trials else None
        return self.start_deadline_s(slot, setup) + _INFERENCES * (trial.p50_ms or 0.0 if trial else 0.0) / 1000

    def _tried(self, slot: Slot, report: TrialReport) -> None:
        if report.trials is None:
            # It served here before, and does so now: a self-test that fails today is no reason to serve nothing.
            self._log.error("the bundle failed its trials", pipeline=self._pipeline, reason=report.refused)
            return
        self._on_event(Tried(slot.digest, report.trials))

    def _rested(self, setup: Setup, report: TrialReport) -> None:
        reason = report.rows[-1].refused if report.rows else report.refused
        if reason is None:
            self._log.info("accelerator is well again", pipeline=self._pipeline, accelerator=setup.accelerator)
            self._quarantine.end(setup.accelerator)
        else:
            self._rest(setup, reason)
        self._on_event(Settled())

    def _rest(self, setup: Setup, reason: str) -> None:
        rest = self._quarantine.begin(setup.accelerator, reason, time.monotonic())
        self._log.error(
            "accelerator in quarantine",
            pipeline=self._pipeline,
            accelerator=setup.accelerator,
            retry_s=f"{rest.interval_s:.0f}",
            reason=reason,
        )
