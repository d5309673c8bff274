"""Every row of the worker pool in docs/states.md, with workers that a test moves by hand."""

import random
from pathlib import Path
from typing import Any

import pytest

from maas_agent.config import MqttSource
from maas_agent.hub.serving import worker_pool
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.worker_pool import (
    Deadlines,
    NotStarted,
    PoolEvent,
    WorkerDied,
    WorkerPool,
    WorkerReady,
    WorkerSaid,
)
from maas_agent.hub.system import log_limiter
from maas_agent.hub.system.services import Services
from maas_agent.ipc import Answer, Drain, Drained, Ready, Serve, SourceIs, Start
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.terms import WorkerLimits
from tests.agent.hub.doubles import Lines
from tests.agent.hub.pools import FakeWorker, HandLoop, hand_moved
from tests.agent.hub.rows import Rows

POOL = Rows()
LOADS, WARM, SERVES, DRAINS, STANDS_BY, RETIRED = "loads", "warm", "serves", "drains", "stands by", "retired"
START = Start(
    device="dev",
    pipeline="p",
    store="/none",
    manifest="1" * 64,
    setup=Setup(CPU),
    limits=WorkerLimits(),
    form=None,
    source=MqttSource(),
    max_payload_bytes=1 << 20,
    heartbeat_s=1.0,
)


class Setting:
    """A pool of two, the workers that it started, and what the pool told."""

    def __init__(self, loop: HandLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop, self.log, self.said = loop, Lines(), list[tuple[Any, ...]]()
        self.started: list[FakeWorker] = []
        self.gentle: list[bool] = []
        self.cannot_start = 0
        """So many of the next workers cannot be started."""
        self.dispatcher = Dispatcher(2, 10)
        monkeypatch.setattr(worker_pool, "WorkerProcess", self._start)
        self.pool = self.new_pool(2)

    def new_pool(self, replicas: int) -> WorkerPool:
        loop: Any = self.loop
        services = Services(loop, Path("/none"), "dev", self.log)
        deadlines = Deadlines(inference_s=5.0, start_s=15.0)
        return WorkerPool(services, START, "1.0.0", replicas, deadlines, self._told, gentle=True)

    def _start(self, *given: Any, gentle: bool, groups: None) -> FakeWorker:
        if self.cannot_start:
            self.cannot_start -= 1
            raise OSError(12, "Cannot allocate memory")
        worker = FakeWorker()
        worker.started_at = self.loop.now
        self.started.append(worker)
        self.gentle.append(gentle)
        self._says, self._exits = given[3], given[4]
        return worker

    def _told(self, event: PoolEvent) -> None:
        match event:
            case WorkerReady(_, worker):
                self.said.append(("ready", self._number(worker)))
            case WorkerSaid(_, worker, message):
                self.said.append((type(message).__name__, self._number(worker)))
            case WorkerDied(_, worker, how):
                self.said.append(("died", self._number(worker), how))
            case NotStarted(_, why):
                self.said.append(("not started", why))

    def _number(self, worker: Any) -> int:
        return self.started.index(worker)

    def says(self, number: int, message: Any) -> None:
        self._says(self.started[number], message)

    def dies(self, number: int, how: str = "crashed") -> None:
        self._exits(self.started[number], how)

    def warm(self) -> "Setting":
        for number in range(len(self.started)):
            self.says(number, Ready("litert", 3.0))
        self.said.clear()
        return self

    def serving(self) -> "Setting":
        self.warm().pool.serve()
        for worker in self.started:
            worker.sent.clear()
        return self

    def check(self) -> None:
        self.pool.check(self.dispatcher)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    return Setting(hand_moved(monkeypatch, worker_pool, log_limiter), monkeypatch)


@POOL.row(LOADS, "a worker is ready")
def _(setting: Setting) -> None:
    assert (setting.gentle, setting.pool.count_ready, setting.pool.runtime) == ([True, True], 0, None)
    setting.says(0, Ready("litert", 3.0))
    assert (setting.pool.any_ready, setting.pool.ready, setting.pool.count_ready) == (True, False, 1)
    setting.says(1, Ready("litert", 3.0))
    assert setting.pool.ready and setting.pool.runtime == "litert"
    assert setting.said == [("ready", 0), ("ready", 1)] and setting.started[0].sent == []


@POOL.row(LOADS, "a worker dies")
def _(setting: Setting) -> None:
    setting.dies(0)
    setting.loop.advance(60)
    assert (setting.said, len(setting.started)) == ([("died", 0, "crashed")], 2), "none is started in its place"


@POOL.row(LOADS, "a worker takes longer than its deadline")
def _(setting: Setting) -> None:
    setting.started[0].silent, setting.started[1].silent = 15.0, 15.1
    setting.check()
    assert [worker.killed_for for worker in setting.started] == [[], ["no answer for 15.1 s"]]


@POOL.row(LOADS, "no worker can be started")
def _(setting: Setting) -> None:
    setting.cannot_start = 2
    pool = setting.new_pool(2)
    assert setting.said == [], "who makes the pool does not know it yet"
    setting.loop.turn()
    assert setting.said == [("not started", "cannot be started: Cannot allocate memory")] * 2
    assert not pool.ready and setting.log.events.count("a worker cannot be started") == 1


@POOL.row(LOADS, "some workers cannot be started")
def _(setting: Setting) -> None:
    setting.cannot_start = 1
    pool = setting.new_pool(2)
    setting.loop.turn()
    assert setting.said == []
    setting.says(2, Ready("litert", 3.0))
    assert pool.ready, "it takes over with those that there are"
    pool.serve()
    setting.loop.advance(0)
    assert len(setting.started) == 4, "and the others are started now"


@POOL.row(WARM, "it is to serve")
def _(setting: Setting) -> None:
    setting.warm().pool.serve()
    assert setting.pool.serving and [worker.sent for worker in setting.started] == [[Serve()], [Serve()]]


@POOL.row(SERVES, "a worker dies")
def _(setting: Setting) -> None:
    setting.serving()
    setting.dies(0)
    assert (setting.said, setting.pool.count_ready) == ([("died", 0, "crashed")], 1)
    setting.loop.advance(0)
    assert (len(setting.started), setting.gentle[-1]) == (3, False)
    setting.says(2, Ready("litert", 3.0))
    assert setting.started[2].sent == [Serve()] and setting.pool.ready


@POOL.row(SERVES, "workers keep dying")
def _(setting: Setting) -> None:
    setting.serving()
    waits = []
    for number in range(12):
        setting.dies(0 if number == 0 else number + 1)
        waits += setting.loop.waits_s
        setting.loop.advance(30)
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


@POOL.row(SERVES, "a worker that lived a minute dies")
def _(setting: Setting) -> None:
    setting.serving()
    for number in (0, 2, 3):
        setting.dies(number)
        setting.loop.advance(30)
    setting.loop.advance(31)
    setting.dies(4)
    assert setting.loop.waits_s == [0.0], "it begins anew"


@POOL.row(SERVES, "a worker cannot be started")
def _(setting: Setting) -> None:
    setting.serving()
    setting.cannot_start = 2
    setting.dies(0)
    setting.loop.advance(0)
    assert (len(setting.started), setting.loop.waits_s) == (2, [0.1])
    setting.loop.advance(0.3)
    assert len(setting.started) == 3 and setting.said == [("died", 0, "crashed")]
    setting.says(2, Ready("litert", 3.0))
    assert setting.pool.ready, "as many as there should be"


@POOL.row(SERVES, "a worker owes an answer for longer than its deadline")
def _(setting: Setting) -> None:
    setting.serving()
    setting.started[0].silent, setting.started[1].silent = 5.0, 5.1
    setting.check()
    assert [worker.killed_for for worker in setting.started] == [[], ["no answer for 5.1 s"]]
    assert [worker.owes_a_pong for worker in setting.started] == [True, False], "the others are asked"
    assert setting.pool.most_silent_s(setting.dispatcher) == pytest.approx(0.1)


@POOL.row(SERVES, "its source is in another state")
def _(setting: Setting) -> None:
    setting.serving()
    running, stopped = SourceIs("running"), SourceIs("failed", "no such program")
    for state in (running, running, stopped):
        setting.says(0, state)
    assert setting.said == [("SourceIs", 0), ("SourceIs", 0)] and setting.pool.source == stopped
    setting.dies(0)
    assert setting.pool.source is None


@POOL.row(SERVES, "it is to drain")
def _(setting: Setting) -> None:
    setting.serving().pool.drain()
    assert [worker.sent for worker in setting.started] == [[Drain()], [Drain()]]
    setting.says(0, Drained())
    assert not setting.pool.drained
    setting.says(1, Drained())
    assert setting.pool.drained


@POOL.row(SERVES, "another pool answers")
def _(setting: Setting) -> None:
    setting.serving().pool.stand_by()
    assert not setting.pool.serving and not any(worker.closed for worker in setting.started)


@POOL.row(DRAINS, "a worker dies")
def _(setting: Setting) -> None:
    setting.serving().pool.drain()
    setting.says(0, Drained())
    setting.dies(1)
    setting.loop.advance(60)
    assert (setting.pool.drained, len(setting.started)) == (True, 2)


@POOL.row(DRAINS, "a worker that was loading is ready")
def _(setting: Setting) -> None:
    setting.serving()
    setting.dies(0)
    setting.loop.advance(0)
    setting.pool.drain()
    setting.says(2, Ready("litert", 3.0))
    assert setting.started[2].sent == [Drain()]


@POOL.row(DRAINS, "it is to serve again")
def _(setting: Setting) -> None:
    setting.serving().pool.drain()
    setting.says(0, Drained())
    setting.pool.serve()
    assert not setting.pool.drained
    setting.dies(0)
    setting.loop.advance(0)
    assert len(setting.started) == 3


@POOL.row(STANDS_BY, "a worker dies")
def _(setting: Setting) -> None:
    setting.serving().pool.stand_by()
    setting.dies(0)
    setting.loop.advance(60)
    assert (setting.said, len(setting.started)) == ([("died", 0, "crashed")], 2)


@POOL.row(STANDS_BY, "it is to serve again")
def _(setting: Setting) -> None:
    setting.serving().pool.stand_by()
    setting.dies(0)
    setting.pool.serve()
    setting.loop.advance(0)
    assert len(setting.started) == 3, "and the one that died is replaced"


@POOL.row(RETIRED, "a worker ends")
def _(setting: Setting) -> None:
    setting.serving().pool.retire()
    assert [worker.closed for worker in setting.started] == [True, True] and setting.pool.workers == []
    setting.dies(0)
    assert not setting.pool.ended
    setting.dies(1)
    assert setting.pool.ended and setting.said == []
    setting.loop.advance(60)
    assert len(setting.started) == 2


@POOL.row(RETIRED, "a worker says that it is ready")
def _(setting: Setting) -> None:
    setting.pool.retire()
    setting.says(0, Ready("litert", 3.0))
    assert setting.said == [] and not setting.started[0].ready


@pytest.mark.parametrize("row", POOL, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(setting: Setting, row: tuple[str, str]) -> None:
    POOL[row](setting)


def test_what_a_worker_says_goes_to_who_listens(setting: Setting) -> None:
    setting.serving().says(1, Answer(1, "x", b"", 1.0, None))
    assert setting.said == [("Answer", 1)]


def test_all_are_killed_when_that_is_asked(setting: Setting) -> None:
    setting.pool.kill("it did not drain")
    assert [worker.killed_for for worker in setting.started] == [["it did not drain"]] * 2
