"""Every row of the switch in docs/states.md, on pools that a test moves by hand."""

from typing import Any

import pytest

from maas_agent.hub.serving import dispatcher as dispatching
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.request import Nobody, Request
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
from maas_agent.hub.serving.worker_pool import NotStarted, WorkerDied, WorkerReady, WorkerSaid
from maas_agent.ipc import Answer, Failed, SourceIs
from tests.agent.hub.pools import FakePool, HandLoop, hand_moved
from tests.agent.hub.rows import Rows

SWITCH = Rows()
NOTHING, SERVES, COMES, SWITCHING, STANDS_BY = "nothing serves", "serves", "another comes", "switching", "stands by"


def any_(pool: Any) -> Any:
    """A double in the place of what it stands for."""
    return pool


def answer_to(request_id: str, sequence: int) -> Answer:
    return Answer(sequence, request_id, b"", 1.0, None)


class Setting:
    """A switch on a loop moved by hand; ``said`` are the events that it told, as values."""

    def __init__(self, loop: HandLoop) -> None:
        self.loop, self.said = loop, list[SwitchEvent]()
        self.dispatcher = Dispatcher(2, 10)
        anything: Any = loop
        self.switch = Switch(anything, self.dispatcher, self.said.append)
        self.old, self.new = FakePool("a" * 64, ready=True), FakePool("b" * 64)
        self.number = 0

    # ------------------------------------------------------------- what happens

    def serving(self) -> "Setting":
        self.switch.install(any_(self.old))
        self.said.clear()
        self.old.told.clear()
        return self

    def coming(self, **named: Any) -> "Setting":
        self.serving()
        self.switch.bring(any_(self.new), **named)
        return self

    def switching(self, **named: Any) -> Request:
        """The new one is warm while the old one still owes an answer."""
        self.coming(**named)
        request = self.submit()
        self.warm(self.new)
        assert self.old.told == ["drain"]
        return request

    def standing_by(self) -> "Setting":
        self.coming(keeps_old=True)
        self.warm(self.new)
        self.drained()
        assert self.switch.standby is any_(self.old)
        self.said.clear()
        self.old.told.clear()
        self.new.told.clear()
        return self

    def submit(self) -> Request:
        self.number += 1
        request = Request(str(self.number), b"", None, 0.0, 0.0, Nobody())
        self.dispatcher.submit(request)
        return request

    def warm(self, pool: FakePool) -> None:
        for worker in pool.workers:
            worker.is_ready("litert")
            self.switch.handle(WorkerReady(any_(pool), worker))

    def answer(self, pool: FakePool) -> None:
        request: Any = pool.worker.sent[-1]
        self.says(pool, answer_to(request.id, request.sequence))

    def says(self, pool: FakePool, message: Any) -> None:
        self.switch.handle(WorkerSaid(any_(pool), any_(pool.worker), message))

    def drained(self) -> None:
        self.old.drained = True
        self.switch.turn_end()

    def dies(self, pool: FakePool, how: str = "crashed") -> None:
        worker = pool.workers.pop()
        self.switch.handle(WorkerDied(any_(pool), worker, how))

    @property
    def where(self) -> tuple[Any, Any, Any]:
        return self.switch.pool, self.switch.coming, self.switch.standby


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(hand_moved(monkeypatch, dispatching))


# ------------------------------------------------------------------ nothing serves


@SWITCH.row(NOTHING, "a pool is installed")
def _(setting: Setting) -> None:
    setting.submit()
    cold = setting.new
    setting.switch.install(any_(cold))
    assert (setting.where, cold.told, setting.said) == ((cold, None, None), ["serve"], [])
    assert not setting.switch.ready
    setting.warm(cold)
    assert (setting.said, cold.worker.asked, setting.switch.ready) == ([Serves(any_(cold))], ["1"], True)


@SWITCH.row(NOTHING, "a pool that comes is warm")
def _(setting: Setting) -> None:
    setting.switch.bring(any_(setting.new))
    assert setting.where == (None, setting.new, None)
    setting.warm(setting.new)
    assert setting.where == (setting.new, None, None)
    assert (setting.new.told, setting.said) == (["serve"], [Serves(any_(setting.new))])


# ------------------------------------------------------------------ one serves


@SWITCH.row(SERVES, "a worker answers")
def _(setting: Setting) -> None:
    request = setting.serving().submit()
    setting.answer(setting.old)
    setting.answer(setting.old)  # once more: nobody waits for that
    assert setting.said == [Answered(request, answer_to("1", 1))]
    setting.says(setting.old, answer_to("s", 0))
    assert setting.said[1:] == [SampleAnswered(answer_to("s", 0))]


@SWITCH.row(SERVES, "a worker dies")
def _(setting: Setting) -> None:
    setting.serving().submit()
    setting.dies(setting.old)
    assert setting.said == [ServingWorkerDied(any_(setting.old), "crashed")]
    assert (len(setting.dispatcher), setting.dispatcher.outstanding) == (1, 0), "its successor gets what it held"


@SWITCH.row(SERVES, "a worker dies on the same input again")
def _(setting: Setting) -> None:
    request = setting.serving().submit()
    for _ in range(2):
        setting.dies(setting.old)
        setting.old.workers = FakePool(ready=True).workers
        setting.warm(setting.old)
    assert GivenUp(request, any_(setting.old), "crashed") in setting.said
    assert len(setting.dispatcher) == 0


@SWITCH.row(SERVES, "its source is in another state")
def _(setting: Setting) -> None:
    setting.coming()
    setting.says(setting.new, SourceIs("running"))
    assert setting.said == []
    setting.says(setting.old, SourceIs("running"))
    assert setting.said == [SourceChanged()]


@SWITCH.row(SERVES, "another pool is brought")
def _(setting: Setting) -> None:
    setting.coming()
    assert (setting.where, setting.old.told) == ((setting.old, setting.new, None), [])
    setting.submit()
    assert setting.old.worker.asked == ["1"]


@SWITCH.row(SERVES, "another pool is installed")
def _(setting: Setting) -> None:
    setting.serving().submit()
    setting.new.worker.is_ready("litert")
    setting.switch.install(any_(setting.new))
    assert setting.old.worker.killed_for == ["it is replaced"], "it owes an answer, and nobody waits for it"
    assert (setting.old.told, setting.new.told, setting.new.worker.asked) == (["retire"], ["serve"], ["1"])


@SWITCH.row(SERVES, "it falls back, and nobody stands by")
def _(setting: Setting) -> None:
    setting.serving()
    setting.switch.fall_back(lambda: any_(setting.new))
    assert (setting.where, setting.old.told, setting.new.told) == ((setting.new, None, None), ["retire"], ["serve"])


@SWITCH.row(SERVES, "it is drained")
def _(setting: Setting) -> None:
    done: list[str] = []
    setting.serving().submit()
    setting.switch.drain(lambda: done.append("done"))
    setting.drained()
    assert (setting.old.told, done) == (["drain"], [])
    setting.answer(setting.old)
    setting.switch.turn_end()
    setting.switch.turn_end()
    assert done == ["done"]


# ------------------------------------------------------------------ another one comes


@SWITCH.row(COMES, "it is warm, and the old one owes an answer")
def _(setting: Setting) -> None:
    setting.switching()
    setting.submit()
    assert setting.old.worker.asked == ["1"] and setting.new.worker.asked == []
    assert setting.where == (setting.old, setting.new, None)


@SWITCH.row(COMES, "it is warm, and none of the old workers lives")
def _(setting: Setting) -> None:
    setting.coming()
    setting.dies(setting.old)
    setting.said.clear()
    setting.warm(setting.new)
    assert (setting.where, setting.said) == ((setting.new, None, None), [Serves(any_(setting.new))])


@SWITCH.row(COMES, "what the switch means cannot be saved")
def _(setting: Setting) -> None:
    def before_switch() -> None:
        raise OSError(28, "No space left on device")

    setting.coming(before_switch=before_switch)
    setting.warm(setting.new)
    assert setting.said == [
        TakeoverRefused(any_(setting.new), "its activation cannot be saved: No space left on device")
    ]
    assert (setting.where, setting.old.told, setting.new.told) == ((setting.old, None, None), [], ["retire"])


@SWITCH.row(COMES, "its worker dies")
def _(setting: Setting) -> None:
    setting.coming()
    setting.says(setting.new, Failed("no delegate", False))
    setting.dies(setting.new)
    assert setting.said == [TakeoverRefused(any_(setting.new), "its worker crashed: no delegate")]
    assert (setting.where, setting.new.told) == ((setting.old, None, None), ["retire"])


@SWITCH.row(COMES, "its worker cannot be started")
def _(setting: Setting) -> None:
    setting.coming()
    setting.switch.handle(NotStarted(any_(setting.new), "cannot be started: out of memory"))
    assert setting.said == [TakeoverRefused(any_(setting.new), "its worker cannot be started: out of memory")]
    assert (setting.where, setting.new.told) == ((setting.old, None, None), ["retire"])


@SWITCH.row(COMES, "a third one is brought")
def _(setting: Setting) -> None:
    third = FakePool("c" * 64)
    setting.coming()
    setting.switch.bring(any_(third))
    assert (setting.where, setting.new.told) == ((setting.old, third, None), ["retire"])
    setting.warm(setting.new)
    assert setting.said == [], "it is none that comes"


@SWITCH.row(COMES, "it is not wanted any more")
def _(setting: Setting) -> None:
    setting.coming()
    setting.switch.drop_coming()
    assert (setting.where, setting.new.told, setting.said) == ((setting.old, None, None), ["retire"], [])


# ------------------------------------------------------------------ switching


@SWITCH.row(SWITCHING, "the last answer is there")
def _(setting: Setting) -> None:
    saved: list[str] = []
    request = setting.switching(before_switch=lambda: saved.append("saved"))
    assert saved == ["saved"], "before anything of it is acted on"
    setting.submit()
    setting.drained()
    assert setting.where == (setting.old, setting.new, None), "it owes an answer"
    setting.answer(setting.old)
    setting.switch.turn_end()
    assert setting.where == (setting.new, None, None)
    assert (setting.old.told, setting.new.told) == (["drain", "retire"], ["serve"])
    assert setting.new.worker.asked == ["2"], "what has come meanwhile"
    assert setting.said == [Answered(request, answer_to("1", 1)), Serves(any_(setting.new))]


@SWITCH.row(SWITCHING, "the last answer is there, and the old one is kept")
def _(setting: Setting) -> None:
    setting.switching(keeps_old=True)
    setting.answer(setting.old)
    setting.drained()
    assert setting.where == (setting.new, None, setting.old)
    assert (setting.old.told, setting.new.told) == (["drain", "stand by"], ["serve"])


@SWITCH.row(SWITCHING, "the old one does not finish in ten seconds")
def _(setting: Setting) -> None:
    setting.switching()
    setting.loop.advance(9.9)
    assert setting.old.told == ["drain"]
    setting.loop.advance(0.2)
    assert setting.old.told == ["drain", "kill: it did not drain"]
    setting.dies(setting.old)
    setting.drained()
    assert (setting.where, setting.new.worker.asked) == ((setting.new, None, None), ["1"])


@SWITCH.row(SWITCHING, "the old one's worker dies")
def _(setting: Setting) -> None:
    setting.switching()
    setting.dies(setting.old)
    setting.drained()
    assert (setting.where, setting.new.worker.asked) == ((setting.new, None, None), ["1"])
    assert setting.said == [ServingWorkerDied(any_(setting.old), "crashed"), Serves(any_(setting.new))]


@SWITCH.row(SWITCHING, "the new one's worker dies")
def _(setting: Setting) -> None:
    """The switch goes on: as the one that serves it is restarted."""
    setting.switching()
    setting.dies(setting.new)
    assert setting.said == [] and setting.where == (setting.old, setting.new, None)
    setting.answer(setting.old)
    setting.drained()
    assert (setting.where, setting.new.told) == ((setting.new, None, None), ["serve"])


@SWITCH.row(SWITCHING, "it falls back")
def _(setting: Setting) -> None:
    third = FakePool("c" * 64, ready=True)
    setting.switching()
    setting.switch.fall_back(lambda: any_(third))
    assert (setting.where, setting.new.told, third.worker.asked) == ((third, None, None), ["retire"], ["1"])
    setting.loop.advance(60)
    assert setting.old.told == ["drain", "retire"], "the old one is nobody's to end any more"


@SWITCH.row(SWITCHING, "somebody wants to bring a pool")
def _(setting: Setting) -> None:
    brought: list[str] = []
    setting.switching()
    setting.switch.when_free(lambda: brought.append("now"))
    assert brought == []
    setting.answer(setting.old)
    setting.drained()
    assert brought == ["now"]
    setting.switch.when_free(lambda: brought.append("at once"))
    assert brought == ["now", "at once"]


@SWITCH.row(SWITCHING, "the new one is not wanted any more")
def _(setting: Setting) -> None:
    setting.switching()
    setting.switch.drop_coming()
    assert setting.where == (setting.old, setting.new, None), "too late"


# ------------------------------------------------------------------ one stands by


@SWITCH.row(STANDS_BY, "it falls back")
def _(setting: Setting) -> None:
    setting.standing_by()
    setting.submit()
    setting.switch.fall_back(lambda: pytest.fail("the one that stands by is warm"))
    assert setting.where == (setting.old, None, None)
    assert (setting.new.told, setting.old.told) == (["retire"], ["serve"])
    assert setting.old.worker.asked == ["1"] and setting.said == [Serves(any_(setting.old))]


@SWITCH.row(STANDS_BY, "it falls back, and that one is not whole")
def _(setting: Setting) -> None:
    third = FakePool("c" * 64)
    setting.standing_by()
    setting.old.worker.ready = False
    setting.switch.fall_back(lambda: any_(third))
    assert (setting.where, setting.old.told, third.told) == ((third, None, None), ["retire"], ["serve"])


@SWITCH.row(STANDS_BY, "its worker dies")
def _(setting: Setting) -> None:
    setting.standing_by()
    setting.dies(setting.old)
    assert (setting.where, setting.old.told, setting.said) == ((setting.new, None, None), ["retire"], [])


@SWITCH.row(STANDS_BY, "it is dismissed")
def _(setting: Setting) -> None:
    setting.standing_by()
    setting.switch.dismiss()
    setting.switch.dismiss()
    assert (setting.where, setting.old.told) == ((setting.new, None, None), ["retire"])


@SWITCH.row("any", "it is stopped")
def _(setting: Setting) -> None:
    setting.standing_by()
    third = FakePool("c" * 64)
    setting.switch.bring(any_(third))
    setting.switch.stop()
    pools = (setting.old, setting.new, third)
    assert setting.where == (None, None, None)
    assert [pool.told for pool in pools] == [["retire"]] * 3
    assert not setting.switch.ended
    for pool in pools:
        pool.ended = True
    assert setting.switch.ended


@pytest.mark.parametrize("row", SWITCH, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(setting: Setting, row: tuple[str, str]) -> None:
    SWITCH[row](setting)


def test_a_worker_that_should_have_been_ended_long_ago_is_not_healthy(setting: Setting) -> None:
    setting.coming()
    setting.old.silence_s, setting.new.silence_s = 4.9, 4.9
    assert setting.switch.healthy
    setting.new.silence_s = 5.0
    assert not setting.switch.healthy
