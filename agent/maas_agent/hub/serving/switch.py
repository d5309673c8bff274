"""Switches between the pools of workers that answer a pipeline's inputs: one serves, another may take over.

Start, warm, switch, drain, stop: the new pool loads and warms up while the old one answers. Then dispatch rests, the
old one finishes what it holds, and the new one gets what has come in the meantime: nothing is lost, nothing is
answered twice, and answers keep their order. The old one may stand by, loaded, to come back at once.
"""

from collections.abc import Callable
from functools import partial
from typing import assert_never

import msgspec

from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.request import Request
from maas_agent.hub.serving.worker_pool import (
    NotStarted,
    PoolEvent,
    WorkerDied,
    WorkerPool,
    WorkerReady,
    WorkerSaid,
)
from maas_agent.hub.serving.worker_process import WorkerProcess
from maas_agent.hub.system.loop import Loop
from maas_agent.ipc import Answer, Failed, SourceIs, ToHub

_CHECK_S = 0.25
_DRAIN_S = 10.0
_GRACE_S = 5.0
"""So long after its deadline the supervisor should have ended a worker."""

BeforeSwitch = Callable[[], None]


class Answered(msgspec.Struct, frozen=True):
    """A worker has answered a request."""

    request: Request
    answer: Answer


class SampleAnswered(msgspec.Struct, frozen=True):
    """A worker has answered a sample of its own source."""

    answer: Answer


class GivenUp(msgspec.Struct, frozen=True):
    """A request has ended two workers."""

    request: Request
    pool: WorkerPool
    how: str


class Serves(msgspec.Struct, frozen=True):
    """A pool answers that did not before."""

    pool: WorkerPool


class ServingWorkerDied(msgspec.Struct, frozen=True):
    """A worker of the serving pool has died; what it held is with its successor."""

    pool: WorkerPool
    how: str


class TakeoverRefused(msgspec.Struct, frozen=True):
    """A pool that was to take over cannot; the old one goes on."""

    pool: WorkerPool
    reason: str


class SourceChanged(msgspec.Struct, frozen=True):
    """What is told of the local source of the pool that serves, or of what waits for it, has changed."""


SwitchEvent = Answered | SampleAnswered | GivenUp | Serves | ServingWorkerDied | TakeoverRefused | SourceChanged
OnSwitchEvent = Callable[[SwitchEvent], None]


class Switch:
    """Holds the dispatcher, the pool it feeds, the one that comes, and the one that stands by."""

    def __init__(self, loop: Loop, dispatcher: Dispatcher, on_event: OnSwitchEvent) -> None:
        self._loop, self._dispatcher, self._on_event = loop, dispatcher, on_event
        self.pool: WorkerPool | None = None
        self.coming: WorkerPool | None = None
        self.standby: WorkerPool | None = None
        self._keeps_old = False
        self._before_switch: BeforeSwitch = lambda: None
        self._switching = False
        self._waiting: Callable[[], None] | None = None
        self._retired: list[WorkerPool] = []
        self._on_drained: Callable[[], None] | None = None
        self.failure: str | None = None
        """The reason that a worker gave last for not being able to serve."""
        self.lacks_files = False
        """Whether that reason is that the bundle is not whole on this device."""
        self._check()

    @property
    def ready(self) -> bool:
        """Whether somebody answers."""
        return self.pool is not None and self.pool.any_ready

    @property
    def healthy(self) -> bool:
        """Whether no worker has been silent for longer than the supervisor should have allowed."""
        return all(pool.most_silent_s(self._dispatcher) < _GRACE_S for pool in self._pools())

    @property
    def ended(self) -> bool:
        """Whether every worker has gone, after `stop`."""
        return all(pool.ended for pool in self._retired)

    def install(self, pool: WorkerPool) -> None:
        """Let ``pool`` serve now, instead of whatever there is: what that held goes to it."""
        self._abandon()
        self.dismiss()
        self._take_over(pool)

    def bring(
        self, pool: WorkerPool, before_switch: BeforeSwitch = lambda: None, *, keeps_old: bool | None = None
    ) -> None:
        """Let ``pool`` take over as soon as it is warm.

        ``before_switch`` is called then, and persists what the switch means; if that raises ``OSError`` the pool is
        refused. With ``keeps_old`` the pool that served so far stands by; with ``None`` the one that does goes on.
        """
        self.drop_coming()
        if keeps_old is not None:
            self.dismiss()
        self.coming, self._before_switch, self._keeps_old = pool, before_switch, bool(keeps_old)

    def dismiss(self) -> None:
        """Nobody has to stand by any more."""
        standby, self.standby = self.standby, None
        if standby is not None:
            self._retire(standby)

    def fall_back(self, make: Callable[[], WorkerPool]) -> None:
        """Let the pool that stands by serve again, at once; where there is none (any more), the one from ``make``."""
        self._abandon()
        standby, self.standby = self.standby, None
        if standby is not None and standby.ready:
            self._take_over(standby)
            return
        if standby is not None:
            self._retire(standby)
        self._take_over(make())

    def when_free(self, action: Callable[[], None]) -> None:
        """Do ``action``, which brings a pool, as soon as no other one is in the middle of taking over."""
        if self._switching:
            self._waiting = action
        else:
            action()

    def drop_coming(self) -> None:
        """The pool that was to take over is not wanted any more."""
        if not self._switching:
            self._retire_coming()

    # ------------------------------------------------------------- what pools tell

    def handle(self, event: PoolEvent) -> None:
        """What a pool does that `install` or `bring` was given."""
        match event:
            case WorkerSaid(pool, worker, message):
                self._said(pool, worker, message)
            case WorkerReady(pool, worker):
                self._worker_ready(pool, worker)
            case WorkerDied(pool, worker, how):
                self._worker_died(pool, worker, how)
            case NotStarted(pool, why):
                if pool is self.coming and not self._switching:
                    self._refuse(pool, f"its worker {why}")
            case _:
                assert_never(event)

    def _worker_ready(self, pool: WorkerPool, worker: WorkerProcess) -> None:
        if pool is self.pool and self._on_drained is None:
            self._succeeded()
            if not self._switching:
                self._dispatcher.feed(worker)
            self._on_event(Serves(pool))
        elif pool is self.coming and pool.ready:
            self._begin_switch(pool)

    def _said(self, pool: WorkerPool, worker: WorkerProcess, message: ToHub) -> None:
        """An answer, how its source is, or the reason why a worker cannot serve."""
        match message:
            case Answer(sequence=0):
                self._on_event(SampleAnswered(message))
            case Answer(sequence=sequence):
                request = self._dispatcher.answered(worker, sequence)
                if request is not None:
                    self._on_event(Answered(request, message))
            case Failed(reason=reason, not_whole=not_whole):
                self.failure, self.lacks_files = reason, not_whole
            case SourceIs():
                if pool is self.pool:
                    self._on_event(SourceChanged())

    def _worker_died(self, pool: WorkerPool, worker: WorkerProcess, how: str) -> None:
        """Its successor gets what it held."""
        if pool is self.coming and not self._switching:
            self._refuse(pool, f"its worker {how}" + (f": {self.failure}" if self.failure else ""))
            return
        if pool is self.standby:
            self.dismiss()
            return
        for request in self._dispatcher.worker_died(worker):
            self._on_event(GivenUp(request, pool, how))
        if pool is self.pool:
            self._on_event(ServingWorkerDied(pool, how))

    def _refuse(self, pool: WorkerPool, reason: str) -> None:
        self.coming = None
        self._retire(pool)
        self._on_event(TakeoverRefused(pool, reason))

    # ------------------------------------------------------------- the switch

    def _begin_switch(self, pool: WorkerPool) -> None:
        try:
            self._before_switch()
        except OSError as error:
            self._refuse(pool, f"its activation cannot be saved: {error.strerror}")
            return
        old = self.pool
        if old is None or not old.any_ready:
            self._finish_switch()
            return
        self._switching = True
        self._dispatcher.rest()
        old.drain()
        self._loop.after(_DRAIN_S, partial(self._drain_is_late, old))

    def _drain_is_late(self, old: WorkerPool) -> None:
        if self._switching and old is self.pool:
            old.kill("it did not drain")

    def _finish_switch(self) -> None:
        pool, self.coming, self._switching = self.coming, None, False
        if pool is not None:
            self._take_over(pool)
        if self._waiting is not None:
            action, self._waiting = self._waiting, None
            action()

    def _take_over(self, pool: WorkerPool) -> None:
        old, self.pool = self.pool, pool
        keeps_old, self._keeps_old = self._keeps_old, False
        if old is not None:
            self._release(old)
            if keeps_old and old.ready:
                old.stand_by()
                self.standby = old
            else:
                self._retire(old)
        pool.serve()
        for worker in pool.workers:
            if worker.ready:
                self._dispatcher.feed(worker)
        if pool.any_ready:
            self._succeeded()
            self._on_event(Serves(pool))

    def _succeeded(self) -> None:
        self.failure, self.lacks_files = None, False

    def _release(self, old: WorkerPool) -> None:
        """What it has not answered by now, because it was replaced in the middle, goes to the next one."""
        for worker in old.workers:
            worker.receive()
            if self._dispatcher.busy_since(worker) is not None:
                worker.kill("it is replaced")
            self._dispatcher.take_back(worker)

    def _abandon(self) -> None:
        self._switching, self._waiting, self._keeps_old = False, None, False
        self._retire_coming()

    def _retire_coming(self) -> None:
        """First it is none that comes: while it is let go, it may say that it is ready."""
        coming, self.coming = self.coming, None
        if coming is not None:
            self._retire(coming)

    def _retire(self, pool: WorkerPool) -> None:
        self._retired = [other for other in self._retired if not other.ended]
        self._retired.append(pool)
        pool.retire()

    # ------------------------------------------------------------- turns, and the end

    def turn_end(self) -> None:
        """Send what was gathered, and finish what waited for the last answer."""
        self._dispatcher.pump()
        if self._switching and (self.pool is None or (self.pool.drained and not self._dispatcher.outstanding)):
            self._finish_switch()
        if self._on_drained is not None and self._is_drained():
            done, self._on_drained = self._on_drained, None
            done()
        for pool in self._pools():
            pool.flush()

    def drain(self, done: Callable[[], None]) -> None:
        """Take nothing new, answer what is there, then call ``done``."""
        self._abandon()
        self._on_drained = done
        if self.pool is not None:
            self.pool.drain()

    def stop(self) -> None:
        """Let the workers end."""
        for pool in self._pools():
            self._retire(pool)
        self.pool = self.coming = self.standby = None

    def _is_drained(self) -> bool:
        return not self.ready or (self.pool is not None and self.pool.drained and not len(self._dispatcher))

    def _check(self) -> None:
        self._loop.after(_CHECK_S, self._check)
        for pool in self._pools():
            pool.check(self._dispatcher)

    def _pools(self) -> list[WorkerPool]:
        return [pool for pool in (self.pool, self.coming, self.standby) if pool is not None]
