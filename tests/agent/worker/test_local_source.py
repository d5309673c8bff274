"""What the worker does with the readings of a source of its own, whenever they come."""

import socket
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from maas_agent.base.log import Log
from maas_agent.ipc import Answer, Channel, Drain, Drained, Serve, SourceIs, Start, ToHub, ToWorker
from maas_agent.worker import worker as worker_module
from maas_agent.worker.engine import Engine
from maas_agent.worker.sources.interface import Reading
from maas_agent.worker.worker import Worker


class Files:
    """A source that is asked: its readings come from `tick`, one a turn, and the last one when it is stopped."""

    def __init__(self, answered: list[bytes]) -> None:
        self._left, self._answered = [b"one", b"two"], answered
        self.done_with: list[bytes] = []
        self.open = False
        self.condition = SourceIs("running")

    def start(self) -> None:
        self.open = True

    def fileno(self) -> None:
        return None

    def read(self) -> list[Reading]:
        return []

    def wake_in(self) -> float | None:
        return 0.0 if self.open and self._left else None

    def tick(self) -> list[Reading]:
        return [Reading(self._left.pop(0))] if self.open and self._left else []

    def done(self, reading: Reading) -> None:
        assert reading.payload in self._answered  # not before its answer is on its way
        self.done_with.append(reading.payload)

    def stop(self) -> list[Reading]:
        self.open = False
        return [Reading(b"last")]


class Echo:
    """An engine that answers with what it was given."""

    def __init__(self, answered: list[bytes]) -> None:
        self._answered = answered

    def answer(self, request: Any) -> Answer:
        self._answered.append(request.payload)
        return Answer(request.sequence, request.id, request.payload, 0.0, None)


def test_readings_that_are_due_are_answered_and_the_source_is_told_when_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered: list[bytes] = []
    source = Files(answered)
    monkeypatch.setattr(worker_module, "local_source", lambda *_: source)
    ours, theirs = socket.socketpair()
    hub: Channel[ToHub] = Channel(ours, ToHub)
    worker = Worker(
        Channel(theirs, ToWorker),
        cast("Start", SimpleNamespace(source=None, max_payload_bytes=1 << 20)),
        cast("Engine", Echo(answered)),
        Log("worker"),
        None,
    )
    hub.put(Serve())
    hub.flush()
    deadline = time.monotonic() + 60.0
    while len(source.done_with) < 2 and time.monotonic() < deadline:
        assert worker._turn()
    assert source.done_with == [b"one", b"two"]
    hub.put(Drain())
    hub.flush()
    assert worker._turn()
    assert source.done_with == [b"one", b"two", b"last"]
    said = hub.receive()
    assert said is not None
    assert [message.document for message in said if isinstance(message, Answer)] == [b"one", b"two", b"last"]
    assert isinstance(said[-1], Drained)
    ours.close()
    theirs.close()
