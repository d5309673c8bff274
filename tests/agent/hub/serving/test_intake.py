"""One request, one answer: whoever asked, and whatever became of it."""

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from maas_agent.base import codes
from maas_agent.base.log import Log
from maas_agent.config import MqttSource, PipelineSettings
from maas_agent.hub.serving import dispatcher
from maas_agent.hub.serving.dead_letters import DeadLetters
from maas_agent.hub.serving.intake import Intake
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.replies import Replies
from maas_agent.hub.serving.request import OnFull, Request
from maas_agent.hub.serving.worker_pool import WorkerPool
from maas_agent.ipc import Answer, InferenceRequest


class Client:
    """A front end: what its requests were answered, in the order in which that came."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str | None]] = []
        self.documents: dict[str, Any] = {}

    def reply(self, request: Request, answer: Answer) -> None:
        self.answers.append((request.id, answer.code))
        self.documents[request.id] = json.loads(answer.document)

    def origin(self) -> dict[str, Any]:
        return {}

    def publish(self, answer: Answer) -> None:
        raise AssertionError("there is no source")


class Worker:
    """A worker as the dispatcher sees it."""

    def __init__(self) -> None:
        self.held: list[InferenceRequest] = []

    def send(self, message: InferenceRequest) -> None:
        self.held.append(message)


class Pool:
    """What a request that is given up is said to have ended."""

    version = "1.0.0"
    setup = "cpu"

    class Start:
        manifest = "d" * 64

    start = Start()


class Setting:
    """A pipeline's intake, one worker and one client."""

    def __init__(self, store: Path, *, queue: int = 4, window: int = 2, ordered: bool = False) -> None:
        settings = PipelineSettings(
            name="digits", model="m", source=MqttSource(), queue=queue, window=window, ordered=ordered,
            max_payload_bytes=1024,
        )  # fmt: skip
        self.metrics, self.client, log = PipelineMetrics(), Client(), Log("test")
        replies = Replies("dev", "digits", self.client, self.metrics)
        self.heard: list[str] = []
        replies.listener = lambda answer: self.heard.append(answer.id)
        self.intake = Intake(settings, replies, self.metrics, DeadLetters(store, "digits", log), log)
        self.worker = Worker()

    def serve(self) -> None:
        self.intake.dispatcher.feed(self.worker)

    def submit(self, name: object, on_full: OnFull = OnFull.WAIT, size: int = 1, left_s: float | None = None) -> bool:
        expires_at = None if left_s is None else time.monotonic() + left_s
        request = Request(str(name), bytes(size), None, 0.0, 0.0, self.client, on_full, expires_at)
        return self.intake.submit(request)

    def answer(self, code: str | None = None) -> None:
        message = self.worker.held.pop(0)
        request = self.intake.dispatcher.answered(self.worker, message.sequence)
        if request is not None:
            self.intake.answered(request, Answer(message.sequence, message.id, b"{}", 1.0, code))
        self.intake.dispatcher.pump()

    def die(self) -> None:
        for request in self.intake.dispatcher.worker_died(self.worker):
            self.intake.given_up(request, cast("WorkerPool", Pool()), "was killed by SIGSEGV")
        self.worker = Worker()
        self.serve()


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_who_may_be_pushed_out_is_told_so(setting: Setting) -> None:
    for number in range(6):
        assert setting.submit(number, OnFull.DROP_OLDEST)
    assert setting.client.answers == [("0", codes.OVERLOADED), ("1", codes.OVERLOADED)]
    assert setting.client.documents["0"]["error"] == {
        "code": "overloaded",
        "message": "more inputs wait than the 4 that the pipeline's queue holds",
    }
    setting.serve()
    while setting.worker.held:
        setting.answer()
    assert setting.client.answers[2:] == [(str(number), None) for number in range(2, 6)]
    counters = setting.metrics.counters()
    assert (counters["received"], counters["answered"], counters["errors"]) == (6, 4, {"overloaded": 2})


def test_who_waits_for_an_answer_is_refused_at_once_when_the_queue_is_full(setting: Setting) -> None:
    taken = [setting.submit(number, OnFull.REFUSE) for number in range(6)]
    assert taken == [True] * 4 + [False] * 2
    assert setting.client.answers == [("4", codes.OVERLOADED), ("5", codes.OVERLOADED)]
    setting.serve()  # two are with the worker: there is room for as many
    assert [setting.submit(number, OnFull.REFUSE) for number in (6, 7, 8)] == [True, True, False]
    assert setting.client.answers[-1] == ("8", codes.OVERLOADED)


def test_the_bytes_that_wait_are_bounded_as_well(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "MAX_QUEUE_BYTES", 1000)
    assert setting.submit("a", OnFull.REFUSE, 600)
    assert not setting.submit("b", OnFull.REFUSE, 600)
    assert setting.submit("c", OnFull.REFUSE, 400)
    assert setting.client.answers == [("b", codes.OVERLOADED)]


def test_who_bounds_himself_waits_however_many_there_are(setting: Setting) -> None:
    assert all(setting.submit(number) for number in range(100))
    setting.serve()
    while setting.worker.held:
        setting.answer()
    assert setting.client.answers == [(str(number), None) for number in range(100)]


def test_what_is_too_large_is_answered_and_no_worker_sees_it(setting: Setting) -> None:
    setting.serve()
    assert not setting.submit("large", size=1025)
    assert setting.submit("fits", size=1024)
    assert [message.id for message in setting.worker.held] == ["fits"]
    assert setting.client.documents["large"]["error"]["message"] == "1025 bytes, at most 1024 are taken"


def test_what_came_too_late_is_answered(setting: Setting) -> None:
    setting.submit("late", left_s=-1.0)
    setting.submit("early", left_s=1000.0)
    setting.intake.dispatcher.expire()
    assert setting.client.answers == [("late", codes.EXPIRED)]


def test_refusals_take_their_turn_where_answers_are_ordered(tmp_path: Path) -> None:
    setting = Setting(tmp_path, ordered=True)
    setting.serve()
    setting.submit("a")
    setting.submit("large", size=2000)
    setting.submit("b")
    assert setting.client.answers == []
    setting.answer()
    assert setting.client.answers == [("a", None), ("large", codes.TOO_LARGE)]
    setting.answer()
    assert setting.client.answers[-1] == ("b", None)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_request_gets_exactly_one_answer(tmp_path: Path, seed: int, ordered: bool) -> None:
    chance = random.Random(seed)
    setting = Setting(tmp_path, queue=3, ordered=ordered)
    setting.serve()
    asked = 0
    for _ in range(300):
        match chance.choice(["submit", "submit", "submit", "answer", "error", "die", "expire"]):
            case "submit":
                left = chance.choice([None, None, -1.0, 1000.0])
                setting.submit(asked, chance.choice(list(OnFull)), chance.choice([1, 2000]), left)
                asked += 1
            case "answer" if setting.worker.held:
                setting.answer()
            case "error" if setting.worker.held:
                setting.answer(codes.BAD_IMAGE)
            case "die" if chance.random() < 0.3:
                setting.die()
            case "expire":
                setting.intake.dispatcher.expire()
    while setting.worker.held or len(setting.intake.dispatcher):
        setting.answer()
    assert Counter(name for name, _ in setting.client.answers) == {str(number): 1 for number in range(asked)}
    assert setting.heard == [name for name, _ in setting.client.answers]
    if ordered:
        assert [name for name, _ in setting.client.answers] == [str(number) for number in range(asked)]
    counters = setting.metrics.counters()
    assert counters["answered"] + sum(counters["errors"].values()) == counters["received"] == asked
