"""Runs the workers of one bundle with one setup, side by side: starts, watches, restarts and ends them."""

import random
import time
from collections.abc import Callable

import msgspec

from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.worker_process import WorkerProcess
from maas_agent.hub.system.log_limiter import LogLimiter
from maas_agent.hub.system.services import Services
from maas_agent.ipc import Drain, Drained, Ready, Serve, SourceIs, Start, ToHub, ToWorker

_FIRST_RESTART_S = 0.1
_RESTART_MAX_S = 30.0
_HEALTHY_S = 60.0


class Deadlines(msgspec.Struct, frozen=True):
    """After how many seconds a worker is taken for hung: over one inference, and while it loads."""

    inference_s: float
    start_s: float


class WorkerReady(msgspec.Struct, frozen=True):
    """A worker has loaded the bundle."""

    pool: "WorkerPool"
    worker: WorkerProcess


class WorkerSaid(msgspec.Struct, frozen=True):
    """A worker has said something else: an answer, how its source is, or why it cannot serve."""

    pool: "WorkerPool"
    worker: WorkerProcess
    message: ToHub


class WorkerDied(msgspec.Struct, frozen=True):
    """A worker has ended that was not told to; ``how`` is the rest of a sentence: "its worker ..."."""

    pool: "WorkerPool"
    worker: WorkerProcess
    how: str


class NotStarted(msgspec.Struct, frozen=True):
    """Not one worker of a pool that does not serve yet can be started; ``why`` is the rest of a sentence."""

    pool: "WorkerPool"
    why: str


PoolEvent = WorkerReady | WorkerSaid | WorkerDied | NotStarted
OnPoolEvent = Callable[[PoolEvent], None]


class WorkerPool:
    """Runs ``replicas`` workers. They are restarted only once the pool serves: one that cannot even start is of no use.

    Where another pool serves, the workers load ``gentle``.
    """

    def __init__(
        self,
        services: Services,
        start: Start,
        version: str,
        replicas: int,
        deadlines: Deadlines,
        on_event: OnPoolEvent,
        *,
        gentle: bool,
    ) -> None:
        self.start, self.version, self.setup = start, version, start.setup
        self.workers: list[WorkerProcess] = []
        self.source: SourceIs | None = None
        """What its worker has said of its local source last."""
        self.serving = False
        self._services, self._loop, self._log = services, services.loop, services.log
        self._replicas, self.deadlines = replicas, deadlines
        self._on_event = on_event
        self._log_limiter = LogLimiter(self._log)
        self._lacking = 0
        """Workers that could not be started before this pool serves: it takes over without them."""
        self._leaving: set[WorkerProcess] = set()
        self._drained: set[WorkerProcess] = set()
        self._draining = False
        self._restart_s = 0.0
        self._ended = False
        for _ in range(replicas):
            self._spawn(gentle)

    @property
    def ready(self) -> bool:
        """Whether every worker has loaded the bundle, of those that could be started."""
        return 0 < len(self.workers) == self._replicas - self._lacking and all(worker.ready for worker in self.workers)

    @property
    def any_ready(self) -> bool:
        """Whether at least one worker answers."""
        return any(worker.ready for worker in self.workers)

    @property
    def count_ready(self) -> int:
        """How many workers answer."""
        return sum(worker.ready for worker in self.workers)

    @property
    def runtime(self) -> str | None:
        """The library that the workers run on."""
        return next((worker.runtime for worker in self.workers if worker.ready), None)

    @property
    def freedom(self) -> str | None:
        """What the workers can do although they should not; ``None`` if nothing, or nobody knows yet."""
        return next((worker.freedom for worker in self.workers if worker.ready and worker.freedom), None)

    @property
    def drained(self) -> bool:
        """Whether every worker that lives has said that nothing more comes from it."""
        return self._draining and all(worker in self._drained for worker in self.workers if worker.ready)

    @property
    def ended(self) -> bool:
        """Whether all processes are gone, after `retire`."""
        return not self._leaving

    def serve(self) -> None:
        """This pool is the one that answers: from now on what dies is restarted."""
        self.serving = True
        self._lacking = 0
        self._draining = False
        self._drained.clear()
        self.tell(Serve())
        for _ in range(self._replicas - len(self.workers)):
            self._restart_later(0.0)  # it died in the moment of the switch, or could not be started

    def tell(self, message: ToWorker) -> None:
        """Send a message to every worker that answers."""
        for worker in self.workers:
            if worker.ready:
                worker.send(message)

    def stand_by(self) -> None:
        """Another pool answers; this one stays loaded, and may be called back by `serve`."""
        self.serving = False

    def drain(self) -> None:
        """Close local sources and finish what is there."""
        self._draining = True
        self.tell(Drain())

    def retire(self) -> None:
        """Let all workers end."""
        self._ended, self.serving = True, False
        for worker in self.workers:
            self._leaving.add(worker)
            worker.close()
        self.workers = []

    def kill(self, reason: str) -> None:
        """End them at once."""
        for worker in self.workers:
            worker.kill(reason)

    def flush(self) -> None:
        """At the end of a turn: send what was queued for the workers."""
        for worker in self.workers:
            worker.flush()

    def check(self, dispatcher: Dispatcher) -> None:
        """Now and then: end workers that hang, and ask the others whether they live."""
        for worker in self.workers:
            silent_s = worker.silent_s(dispatcher.busy_since(worker))
            if silent_s > (self.deadlines.inference_s if worker.ready else self.deadlines.start_s):
                worker.kill(f"no answer for {silent_s:.1f} s")
            elif worker.ready and not worker.owes_a_pong:
                worker.ping()

    def most_silent_s(self, dispatcher: Dispatcher) -> float:
        """How far beyond its deadline the most silent ready worker is, in seconds; negative if all is well."""
        silences = [worker.silent_s(dispatcher.busy_since(worker)) for worker in self.workers if worker.ready]
        return max(silences, default=0.0) - self.deadlines.inference_s

    def _spawn(self, gentle: bool) -> None:
        loop, start, log, groups = self._loop, self.start, self._log, self._services.groups
        try:
            worker = WorkerProcess(loop, start, log, self._on_message, self._on_exit, gentle=gentle, groups=groups)
        except OSError as error:  # no descriptor, process or memory is left: there may be some later
            why = error.strerror or str(error)
            self._log_limiter.error(why, "a worker cannot be started", pipeline=start.pipeline, reason=why)
            self._lacking += not self.serving
            loop.call(lambda: self._not_started(f"cannot be started: {why}"))
            return
        self.workers.append(worker)
        self._log.info(
            "worker started", pipeline=self.start.pipeline, version=self.version, setup=self.setup, pid=worker.pid
        )

    def _not_started(self, why: str) -> None:
        """Said in the next turn: who makes a pool does not know it yet when its first worker cannot be started."""
        if self.serving and not self._draining:
            self._restart_later(0.0)
        elif not self._ended and not self.workers:
            self._on_event(NotStarted(self, why))

    def _on_message(self, worker: WorkerProcess, message: ToHub) -> None:
        match message:
            case Ready() if self._ended:
                pass  # it was on its way when nobody wanted it any more
            case Ready(runtime=runtime, load_ms=load_ms, freedom=freedom):
                worker.is_ready(runtime, freedom)
                if freedom:
                    self._log_limiter.warning(
                        freedom, "a worker is not confined", pipeline=self.start.pipeline, reason=freedom
                    )
                self._log.info("worker ready", pipeline=self.start.pipeline, pid=worker.pid, load_ms=load_ms)
                if self._draining:
                    worker.send(Drain())
                elif self.serving:
                    worker.send(Serve())
                self._on_event(WorkerReady(self, worker))
            case Drained():
                self._drained.add(worker)
            case SourceIs():
                if message != self.source:
                    self.source = message
                    self._on_event(WorkerSaid(self, worker, message))
            case _:
                self._on_event(WorkerSaid(self, worker, message))

    def _on_exit(self, worker: WorkerProcess, how: str) -> None:
        if worker in self._leaving:
            self._leaving.discard(worker)
            return
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        self.source = None
        self._log.error("worker died", pipeline=self.start.pipeline, pid=worker.pid, setup=self.setup, how=how)
        self._on_event(WorkerDied(self, worker, how))
        if self.serving and not self._draining:
            self._restart_later(time.monotonic() - worker.started_at)

    def _restart_later(self, lived_s: float) -> None:
        """At once the first time, then with a growing delay: workers that keep dying must not take the device."""
        if lived_s > _HEALTHY_S:
            self._restart_s = 0.0
        self._loop.after(random.uniform(0.5, 1.0) * self._restart_s, self._restart)
        self._restart_s = min(max(self._restart_s * 2, _FIRST_RESTART_S), _RESTART_MAX_S)

    def _restart(self) -> None:
        if self.serving and not self._draining and len(self.workers) < self._replicas:
            self._spawn(gentle=False)
