"""What the hub's own children say to it: they handle untrusted bytes and models, so they are not trusted."""

import json
import socket
import struct
from contextlib import suppress
from functools import lru_cache
from typing import Any

import msgspec

from maas_agent.base.documents import ResultDocument, encode
from maas_agent.config import ReportSettings, UpdateSettings
from maas_agent.errors import DataError
from maas_agent.hub.api.mqtt_inputs import SampleTopic
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.replies import Replies
from maas_agent.hub.takeover import pipeline_state, state_store
from maas_agent.hub.takeover.answer_statistics import AnswerStatistics, worse
from maas_agent.hub.takeover.comparison import ShadowComparison, agree
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot, UpdateState
from maas_agent.ipc import Alive, Answer, Channel, Drained, Failed, Pong, Ready, SourceIs, ToHub
from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trial, Trials, document_of
from maas_agent.trials.terms import Terms
from maas_agent.update.protocol import Outcome, PullJob, PullProgress, Wanted, decode_event, decode_job, line_of
from maas_agent.worker.sources.command import LineSplitter
from tests.fuzz.registry import check_sentence, pieces, target


def _result(result: Any) -> bytes:
    return encode(ResultDocument(id="1", time="t", device="d", pipeline="p", latency_ms=1.0, result=result))


_RESULTS = (
    {"label": "a", "score": 0.5, "top": [["a", 0.5], ["b", 0.25]]},
    {"values": [[1.0, 2.0], [3.5, None]]},
    [{"label": "a", "score": 1.0, "top": []}, {"one": {"values": [1.0]}, "two": {"label": "x"}}],
)


def _frames(*messages: Any) -> bytes:
    bodies = [msgspec.msgpack.encode(message) for message in messages]
    return b"".join(struct.pack("<I", len(body)) + body for body in bodies)


def _told() -> list[bytes]:
    answers = [
        Answer(at, str(at), _result(result), 1.5, None, took_ms=1.0, gist="a") for at, result in enumerate(_RESULTS)
    ]
    error = Answer(0, "x-1", b'{"error": {}}', 2.0, "bad_json", gist=0.5, sample=(b"[1]", "application/json"))
    return [
        _frames(Ready("ai-edge-litert 2.3.0", 12.5), *answers, Pong(1), Alive(), error, Drained()),
        _frames(Failed("no memory")),
        _frames(SourceIs("waiting", "not yet"), SourceIs("failed", "there is no /x: ls -l /x"), SourceIs("running")),
        _frames(*answers, error),
    ]


class _Kept:
    """An outbox that keeps nothing; what is put could be sent."""

    def put(self, message: Outbound, *_: object, **__: object) -> None:
        message.topic.encode()
        if message.content_type:
            assert len(message.content_type) <= 100 and message.content_type.isprintable()


@lru_cache(maxsize=1)
def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


@target(
    "ipc.worker",
    "a worker's frames: what the hub counts, compares and publishes of them",
    _told,
    msgspec.DecodeError,
    form="frames",
    share=0.5,
)
def worker(data: bytes) -> None:
    ours, theirs = _pair()
    channel: Channel[Any] = Channel(ours, ToHub)
    metrics, statistics, compared = PipelineMetrics(), AnswerStatistics(), ShadowComparison()
    answers = Replies("d", "p", SampleTopic(_Kept(), "maas/d/p/out", ReportSettings()), metrics)  # type: ignore[arg-type]
    first: Answer | None = None
    for at in range(0, len(data), 5000):
        theirs.send(data[at : at + 5000])
        for message in channel.receive() or ():
            match message:
                case Answer():
                    answers.report(message)
                    statistics.add(message)
                    first = first or message
                    compared.add(first, message, 0.05)
                case Failed(reason=reason) | Ready(runtime=reason):
                    check_sentence(reason)
    assert len(metrics.errors) < 100
    msgspec.json.encode([metrics.counters(), metrics.latencies.take(), compared.latency_ratio])
    worse(statistics.summary(), statistics.summary(), UpdateSettings())


@target(
    "ipc.compared",
    "two answers of workers, compared in a shadow",
    lambda: [json.dumps([json.loads(_result(a)), json.loads(_result(b))]).encode() for a in _RESULTS for b in _RESULTS],
    form="json",
)
def compared(data: bytes) -> None:
    half = len(data) // 2
    try:
        pair = json.loads(data)
        documents = (
            [json.dumps(each).encode() for each in pair] if isinstance(pair, list) and len(pair) == 2 else [data, data]
        )
    except (ValueError, RecursionError):
        documents = [data[:half], data[half:]]
    one, other = (Answer(1, "1", document, 1.0, None) for document in documents)
    assert agree(one, other, 0.05) in (True, False)


def _trials() -> Trials:
    setup = Setup("cpu", 1, {"a": "b"})
    rows = (
        Trial(setup=setup, p50_ms=1.0, p99_ms=2.0, peak_bytes=1 << 20, deviation=0.0),
        Trial(setup=setup, refused="no"),
    )
    return Trials("litert 2", "0" * 16, Terms(), rows)


def _events() -> list[bytes]:
    progress = PullProgress("p", "pulling", "1.2.0", "a" * 64)
    tested = Outcome(pipeline="p", result="tested", state="testing", version="1.2.0", digest="a" * 64, trials=_trials())
    failed = Outcome(
        pipeline="p",
        result="failed",
        state="pulling",
        reason="why",
        set_aside=True,
        revoked={"1.0.0": "old"},
        digest="b" * 64,
    )
    return [line_of(progress), line_of(tested), line_of(failed), line_of(progress) + line_of(tested)]


def _states() -> list[PipelineState]:
    one, two = Slot("1.0.0", "c" * 64, _trials()), Slot("1.1.0", "d" * 64)
    return [
        PipelineState(),
        PipelineState(active=two, previous=one, update=UpdateState("active", "1.1.0")),
        PipelineState(active=one, candidate=Slot("1.2.0", "a" * 64), update=UpdateState("testing", "1.2.0")),
    ]


@target("protocol.event", "a puller's line, and what it does to a pipeline", _events, DataError, form="lines")
def event(data: bytes) -> None:
    for line in data.split(b"\n"):
        if line:
            told = decode_event(line)
            for state in _states():
                with suppress(DataError):
                    _obeyed(state, told)


def _obeyed(state: PipelineState, told: PullProgress | Outcome) -> None:
    if isinstance(told, PullProgress):
        after = pipeline_state.progressed(state, told, 1.0)
    else:
        state = pipeline_state.informed(state, told.revoked)
        by_result = {
            "tested": pipeline_state.tested,
            "current": pipeline_state.current,
            "failed": pipeline_state.failed,
        }
        after = by_result[told.result](state, told, 1.0)
    msgspec.json.encode(after)
    pipeline_state.rolled_back(after, "why", 2.0)


@target(
    "protocol.job",
    "the hub's job, as the puller reads it",
    lambda: [line_of(PullJob(store="/s", wanted=[Wanted(pipeline="p", model="m", exact="1.0.0")], keep=("a" * 64,)))],
    DataError,
    form="json",
)
def job(data: bytes) -> None:
    decode_job(data)


@target(
    "update.slots",
    "the state of a pipeline, as a power cut or a hand left it",
    lambda: [msgspec.json.encode(state) for state in _states()],
    form="json",
)
def kept_state(data: bytes) -> None:
    from tests.fuzz.registry import scratch

    path = state_store.path_of(scratch(), "p")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    state = state_store.load(scratch(), "p", check_sentence)
    state_store.save(scratch(), "q", state)
    assert state_store.load(scratch(), "q", check_sentence).active == state.active
    for slot in (state.active, state.previous):
        if slot and slot.trials and (best := slot.trials.best()):
            document_of(best)


@target(
    "source.lines",
    "what a program prints, line by line",
    lambda: [b"\0[1]\n\n{}\r\n" + b"x" * 100 + b"\n[2]", b"\3" + b"y" * 300],
)
def lines(data: bytes) -> None:
    whole, cut = pieces(data)
    splitter, most = LineSplitter(64), 64
    found = [reading for piece in cut for reading in splitter.feed(piece)] + splitter.end()
    wanted = [line for line in whole.split(b"\n") if line.strip() or len(line) > most]
    assert [reading.payload for reading in found] == [b"" if len(line) > most else line for line in wanted]
    assert all((reading.error is None) == bool(reading.payload) for reading in found)
