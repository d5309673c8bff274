"""One pipeline in the hub: its worker, the swap to a candidate, restarts, and what becomes of inputs and answers."""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from maas_agent import codes
from maas_agent.config import MqttSource
from maas_agent.config import Pipeline as Settings
from maas_agent.documents import rfc3339
from maas_agent.hub.answers import Answers
from maas_agent.hub.dispatch import Dispatcher, Job
from maas_agent.hub.loop import Loop
from maas_agent.hub.meter import Meter
from maas_agent.hub.outbox import Outbox
from maas_agent.hub.workers import WorkerProcess
from maas_agent.ipc import Answer, Drain, Drained, Failed, Ready, Serve, Start, ToHub
from maas_agent.log import Log
from maas_agent.update import slots
from maas_agent.update.protocol import Outcome, Progress
from maas_agent.update.slots import PipelineState, Slot

_CHECK_S = 1.0
_START_S = 120.0
"""A worker that has not loaded its model by then is taken for hung."""
_FIRST_RESTART_S = 0.1
_RESTART_MAX_S = 30.0
_HEALTHY_S = 60.0
_DRAIN_S = 10.0


class Pipeline:
    """Keeps one bundle serving. ``on_change`` is called when what the state topic says has changed."""

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        device: str,
        store: Path,
        out: str,
        outbox: Outbox,
        log: Log,
        on_change: Callable[["Pipeline"], None],
    ) -> None:
        self.settings, self.meter = settings, Meter()
        self._loop, self._device, self._store, self._log = loop, device, store, log
        self._answers = Answers(device, settings.name, out, settings.report.qos, outbox, self.meter)
        self._on_change = on_change
        self._dispatcher = Dispatcher(settings.window, settings.queue)
        self.slots: PipelineState = slots.load(store, settings.name, lambda text: log.error(text))
        self._worker: WorkerProcess | None = None
        self._candidate: WorkerProcess | None = None
        self._retiring: set[WorkerProcess] = set()
        self._restart_s = _FIRST_RESTART_S
        self._draining: Callable[[], None] | None = None
        self._drained = False
        self.trouble: str | None = None
        """Why it does not serve, if it does not."""
        loop.at_turn_end(self._turn_end)
        loop.after(_CHECK_S, self._check)

    def start(self) -> None:
        """Serve the active bundle, if there is one."""
        if self.slots.active is None:
            self.trouble = "waiting for the first bundle"
            return
        self._worker = self._spawn(self.slots.active)

    @property
    def serving(self) -> bool:
        """Whether a worker answers."""
        return self._worker is not None and self._worker.ready

    @property
    def healthy(self) -> bool:
        """Whether no worker has been silent for longer than the supervisor should have allowed."""
        grace_s = 2 * self.settings.deadline_s + 5
        return all(_silent_s(worker, self._busy_since(worker)) < grace_s for worker in self._workers() if worker.ready)

    @property
    def updating(self) -> bool:
        """Whether a candidate is taking over: no other one may be looked for until it has."""
        return self._candidate is not None

    @property
    def dropped(self) -> int:
        """QoS 0 inputs that a full queue has cost."""
        return self._dispatcher.dropped

    def state(self) -> dict[str, Any]:
        """The document of the state topic."""
        worker = self._worker
        return {
            "pipeline": self.settings.name,
            "serving": self.serving,
            "active": _slot(self.slots.active),
            "candidate": _slot(self.slots.candidate),
            "previous": _slot(self.slots.previous),
            "accelerator": worker.accelerator if worker and worker.ready else None,
            "runtime": worker.runtime if worker and worker.ready else None,
            "update": {
                "state": self.slots.update.state,
                "version": self.slots.update.version,
                "reason": self.slots.update.reason,
                "since": rfc3339(self.slots.update.since),
            },
            "trouble": None if self.serving else self.trouble,
        }

    # ------------------------------------------------------------- inputs and answers

    def submit(self, job: Job) -> None:
        """Take an input; it will be answered on its out topic."""
        self.meter.received += 1
        self._dispatcher.submit(job)

    def refuse(self, job: Job, code: str, message: str) -> None:
        """Answer an input with an error without showing it to a worker."""
        self.meter.received += 1
        self._answers.refuse(job, code, message)

    # ------------------------------------------------------------- workers

    def _spawn(self, slot: Slot) -> WorkerProcess:
        settings = self.settings
        start = Start(
            device=self._device,
            pipeline=settings.name,
            store=str(self._store),
            manifest=slot.digest,
            accelerator=settings.accelerator,
            threads=settings.threads,
            form=settings.source.content if isinstance(settings.source, MqttSource) else None,
            source=settings.source,
            max_payload_bytes=settings.max_payload_bytes,
        )
        worker = WorkerProcess(self._loop, start, self._log, self._on_message, self._on_exit)
        self._log.info("worker started", pipeline=settings.name, version=slot.version, pid=worker.pid)
        return worker

    def _on_message(self, worker: WorkerProcess, message: ToHub) -> None:
        match message:
            case Answer(sequence=0):
                self._answers.report(message)
            case Answer(sequence=sequence):
                job = self._dispatcher.answered(sequence)
                if job is not None:
                    self._answers.reply(job, message)
            case Ready():
                self._on_ready(worker, message)
            case Failed(reason=reason):
                self.trouble = reason
            case Drained():
                self._drained = True

    def _on_ready(self, worker: WorkerProcess, ready: Ready) -> None:
        worker.ready, worker.accelerator, worker.runtime = True, ready.accelerator, ready.runtime
        self._log.info("worker ready", pipeline=self.settings.name, pid=worker.pid, load_ms=ready.load_ms)
        if worker is self._worker:
            self._serve(worker)
        elif worker is self._candidate and self._worker is not None and self._worker.ready:
            self._begin_switch(self._worker)
        elif worker is self._candidate:
            self._finish_switch()

    def _serve(self, worker: WorkerProcess) -> None:
        self.trouble = None
        if self._draining:
            return
        worker.send(Serve())
        self._dispatcher.feed(worker)
        self._on_change(self)

    def _on_exit(self, worker: WorkerProcess, how: str) -> None:
        if worker in self._retiring:
            self._retiring.discard(worker)
        elif worker is self._candidate:
            self._candidate = None
            self._candidate_failed(f"its worker {how}" + (f": {self.trouble}" if self.trouble else ""))
        elif worker is self._worker:
            self._active_died(worker, how)

    def _active_died(self, worker: WorkerProcess, how: str) -> None:
        self._worker = None
        self.meter.restarts += 1
        self.trouble = f"the worker {how}" if worker.ready or self.trouble is None else self.trouble
        self._log.error("worker died", pipeline=self.settings.name, pid=worker.pid, how=how)
        for job in self._dispatcher.worker_died():
            self._log.error("input given up", pipeline=self.settings.name, id=job.id, workers_lost=job.deaths)
            self._answers.refuse(job, codes.WORKER_DIED, "two workers died while they had this input")
        if self._candidate is not None and self._candidate.ready:
            self._finish_switch()
        elif self._draining is None:
            self._restart_later(time.monotonic() - worker.started_at)
        self._on_change(self)

    def _restart_later(self, lived_s: float) -> None:
        """At once the first time, then with a growing delay: a worker that keeps dying must not take the device."""
        if lived_s > _HEALTHY_S:
            self._restart_s = _FIRST_RESTART_S
        wait_s = random.uniform(0, self._restart_s)
        self._restart_s = min(self._restart_s * 2, _RESTART_MAX_S)
        self._loop.after(wait_s, self._restart_now)

    def _restart_now(self) -> None:
        if self._worker is None and self.slots.active is not None and self._draining is None:
            self._worker = self._spawn(self.slots.active)

    def _check(self) -> None:
        """Once a second: end workers that hang, and ask the idle ones whether they live."""
        self._loop.after(_CHECK_S, self._check)
        for worker in self._workers():
            silent_s = _silent_s(worker, self._busy_since(worker))
            limit_s = self.settings.deadline_s if worker.ready else _START_S
            if silent_s > limit_s:
                worker.kill(f"no answer for {silent_s:.0f} s")
            elif worker.ready and not worker.owes_a_pong:
                worker.ping()

    def _busy_since(self, worker: WorkerProcess) -> float | None:
        return self._dispatcher.busy_since if worker is self._worker and self._dispatcher.outstanding else None

    def _workers(self) -> list[WorkerProcess]:
        return [worker for worker in (self._worker, self._candidate) if worker is not None]

    def _turn_end(self) -> None:
        self._dispatcher.pump()
        if self._drained or self._draining:
            self._maybe_drained()
        for worker in self._workers():
            worker.flush()

    # ------------------------------------------------------------- updates

    def progress(self, event: Progress) -> None:
        """The puller is about to take a step: persist it, then tell."""
        self._become(slots.progressed(self.slots, event, time.time()))

    def conclude(self, outcome: Outcome) -> None:
        """The puller's last word."""
        now = time.time()
        match outcome.result:
            case "current":
                self._become(slots.current(self.slots, outcome, now), even_unsaved=True)
            case "failed":
                self._log.error(
                    "update failed", pipeline=self.settings.name, version=outcome.version, reason=outcome.reason
                )
                self._become(slots.failed(self.slots, outcome, now), even_unsaved=True)
            case "tested":
                self._become(slots.tested(self.slots, outcome, now))
                self._start_candidate()

    def _become(self, state: PipelineState, *, even_unsaved: bool = False) -> None:
        """Persist a state, then be in it. Raises ``OSError`` (disk full) and stays, unless ``even_unsaved``."""
        if state == self.slots:
            return
        try:
            slots.save(self._store, self.settings.name, state)
        except OSError as error:
            self._log.error("cannot save the state", pipeline=self.settings.name, reason=error.strerror)
            if not even_unsaved:
                raise
        self.slots = state
        self._on_change(self)

    def _start_candidate(self) -> None:
        if self._candidate is not None:
            self._retire(self._candidate)
        if self.slots.candidate is not None and self._draining is None:
            self._candidate = self._spawn(self.slots.candidate)

    def _candidate_failed(self, reason: str) -> None:
        self._log.error("candidate refused", pipeline=self.settings.name, reason=reason)
        version = self.slots.candidate.version if self.slots.candidate else None
        digest = self.slots.candidate.digest if self.slots.candidate else None
        if self.slots.active is not None:
            self._become(slots.rolled_back(self.slots, reason, time.time()), even_unsaved=True)
        else:
            outcome = Outcome(
                pipeline=self.settings.name,
                result="failed",
                state="probation",
                version=version,
                digest=digest,
                reason=reason,
                set_aside=True,
            )
            self._become(slots.failed(self.slots, outcome, time.time()), even_unsaved=True)

    def _begin_switch(self, old: WorkerProcess) -> None:
        """The candidate is warm: let the old worker finish what it holds, so that answers keep their order."""
        self._dispatcher.feed(None)
        self._drained = False
        old.send(Drain())
        self._loop.after(_DRAIN_S, partial(self._drain_is_late, old))

    def _drain_is_late(self, old: WorkerProcess) -> None:
        if old is self._worker and self._candidate is not None:
            old.kill("it did not drain")

    def _maybe_drained(self) -> None:
        if self._candidate is not None and self._candidate.ready and self._drained and not self._dispatcher.outstanding:
            self._finish_switch()
        elif self._draining and (not self.serving or (self._drained and not len(self._dispatcher))):
            done, self._draining = self._draining, None
            done()

    def _finish_switch(self) -> None:
        old, new = self._worker, self._candidate
        self._worker, self._candidate = new, None
        self._drained = False
        if old is not None:
            self._retire(old)
        try:
            self._become(slots.activated(self.slots, time.time()))
        except OSError as error:
            self._switch_back(new, f"its activation cannot be saved: {error.strerror}")
            return
        self.meter.swaps += old is not None
        self._restart_s = _FIRST_RESTART_S
        self._log.info("bundle active", pipeline=self.settings.name, version=self.slots.update.version)
        if new is not None:
            self._serve(new)

    def _switch_back(self, new: WorkerProcess | None, reason: str) -> None:
        """What is not persisted must not serve: after a power cut the device would run something else."""
        self._worker = None
        if new is not None:
            self._retire(new)
        self._candidate_failed(reason)
        self._restart_now()

    def _retire(self, worker: WorkerProcess) -> None:
        self._retiring.add(worker)
        worker.close()

    # ------------------------------------------------------------- the end

    def drain(self, done: Callable[[], None]) -> None:
        """Take nothing new, answer what is there, then call ``done``."""
        self._draining = done
        self._drained = False
        if self._candidate is not None:
            self._retire(self._candidate)
            self._candidate = None
        if self._worker is not None and self._worker.ready:
            self._worker.send(Drain())

    @property
    def ended(self) -> bool:
        """Whether every worker has gone, after `stop`."""
        return not self._retiring

    def stop(self) -> None:
        """Let the workers end."""
        for worker in self._workers():
            self._retire(worker)
        self._worker = self._candidate = None


def _slot(slot: Slot | None) -> dict[str, str] | None:
    return {"version": slot.version, "digest": slot.digest} if slot else None


def _silent_s(worker: WorkerProcess, busy_since: float | None) -> float:
    """Seconds for which a worker that owes something has said nothing."""
    now = time.monotonic()
    if not worker.ready:
        return now - worker.started_at
    if not worker.owes_a_pong and busy_since is None:
        return 0.0
    return now - max(worker.heard_at, busy_since or 0.0, worker.asked_at if worker.owes_a_pong else 0.0)
