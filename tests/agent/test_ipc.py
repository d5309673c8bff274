"""Frames between hub and worker, over a real socketpair."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.config import CommandSource, MqttSource
from maas_agent.ipc import (
    MAX_FRAME_BYTES,
    Alive,
    Answer,
    Channel,
    Drain,
    Drained,
    Failed,
    InferenceRequest,
    Ping,
    Pong,
    Ready,
    Serve,
    SourceIs,
    Start,
    ToHub,
    ToWorker,
)
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits

TO_WORKER: list[Any] = [
    Start("dev", "p", "/store", "0" * 64, Setup(), WorkerLimits(), None, MqttSource("raw"), 100, 2.5),
    Start(
        *(
            "dev",
            "p",
            "/store",
            "0" * 64,
            Setup("delegate:/l.so", 4, {"a": "b"}, "tflite-runtime"),
            WorkerLimits(9, (1, 2), 3),
        ),
        *("json", CommandSource(("a", "b"), 0.5), 100, 0.5),
    ),
    InferenceRequest(1, "id", b"payload", None, 1.5, 2.5),
    InferenceRequest(2, "", b"", "image/png", 0.0, 0.0),
    Serve(),
    Ping(3),
    Drain(),
]
TO_HUB: list[Any] = [
    Ready("ai-edge-litert 2.3.0", 12.5),
    Alive(),
    Answer(1, "id", b"{}", 0.25, None),
    Answer(0, "id", b"{}", 0.25, "empty", "text/plain"),
    Pong(3),
    Drained(),
    Failed("no"),
    SourceIs("running"),
    SourceIs("failed", "there is no /x"),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(("messages", "kinds"), [(TO_WORKER, ToWorker), (TO_HUB, ToHub)], ids=["to-worker", "to-hub"])
def test_every_message_arrives_as_it_was_sent_and_in_order(
    ends: tuple[socket.socket, socket.socket], messages: list[Any], kinds: Any
) -> None:
    sender: Channel[Any] = Channel(ends[0], kinds)
    receiver: Channel[Any] = Channel(ends[1], kinds)
    for message in messages:
        sender.put(message)
    assert sender.flush() and not sender.pending
    assert receiver.receive() == messages


def frames(messages: list[Any]) -> bytes:
    bodies = [msgspec.msgpack.encode(message) for message in messages]
    return b"".join(struct.pack("<I", len(body)) + body for body in bodies)


@given(st.lists(st.integers(1, 40), max_size=20))
def test_messages_arrive_in_whatever_pieces(sizes: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver: Channel[Any] = Channel(theirs, ToWorker)
        data, received = frames(TO_WORKER), []
        for size in [*sizes, len(data)]:
            ours.send(data[:size])
            received += receiver.receive() or []
            data = data[size:]
            if not data:
                break
        assert received == TO_WORKER


def test_a_peer_that_is_gone_is_none_and_no_exception(ends: tuple[socket.socket, socket.socket]) -> None:
    receiver: Channel[Any] = Channel(ends[1], ToWorker)
    ends[0].send(frames([Ping(1)]) + b"\x05\0\0\0half")
    ends[0].close()
    assert receiver.receive() == [Ping(1)]
    assert receiver.receive() is None


def test_nothing_to_read_is_no_message(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].setblocking(False)
    assert Channel(ends[1], ToWorker).receive() == []


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", MAX_FRAME_BYTES + 1),
        struct.pack("<I", 3) + b"abc",
        frames([Pong(1)]),
        frames([[99, 1]]),
        frames([[1, "not a number"]]),
        frames([{"tag": 4}]),
    ],
    ids=["huge", "no-msgpack", "wrong-direction", "unknown", "wrong-type", "no-array"],
)
def test_what_is_no_message_for_this_end_is_an_error(ends: tuple[socket.socket, socket.socket], data: bytes) -> None:
    receiver: Channel[Any] = Channel(ends[1], ToWorker)
    ends[0].send(data)
    with pytest.raises(msgspec.DecodeError):
        receiver.receive()


def test_what_the_kernel_does_not_take_waits_and_is_sent_later(ends: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[Any] = Channel(ends[0], ToHub)
    receiver: Channel[Any] = Channel(ends[1], ToWorker)
    ends[0].setblocking(False)
    big = InferenceRequest(1, "id", bytes(8 << 20), None, 0.0, 0.0)
    sender.put(big)
    sender.put(Ping(2))
    assert not sender.flush()
    assert 0 < sender.pending < 8 << 20
    received: list[Any] = []
    while len(received) < 2:
        received += receiver.receive() or []
        sender.flush()
    assert received == [big, Ping(2)]
    assert not sender.pending


def test_sending_to_a_peer_that_is_gone_is_an_os_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """And no signal that ends the process."""
    sender: Channel[Any] = Channel(ends[0], ToHub)
    ends[1].close()
    sender.put(Serve())
    with pytest.raises(BrokenPipeError):
        sender.flush()


@pytest.mark.parametrize(
    "odd",
    [
        {"latency_ms": float("inf")},
        {"latency_ms": float("nan")},
        {"took_ms": 1e300},
        {"content_type": "x" * 128},
        {"content_type": "a\nb"},
        {"gist": "x" * 257},
    ],
)
def test_an_answer_that_the_hub_could_not_count_or_send_is_no_answer(odd: dict[str, Any]) -> None:
    """An infinite latency has no place in a histogram, and a long content type none in a packet: both ended the hub."""
    answer = msgspec.structs.replace(Answer(1, "x", b"{}", 1.0, None), **odd)
    body = msgspec.msgpack.encode(answer)
    hub, worker = socket.socketpair()
    with hub, worker:
        worker.sendall(struct.pack("<I", len(body)) + body)
        with pytest.raises(msgspec.DecodeError):
            Channel[ToHub](hub, ToHub).receive()
