"""The loop: real descriptors, real timers, real threads."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.hub.system.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.after(20, lambda: pytest.fail("the loop did not stop"))
    yield loop
    loop.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three connected pairs; what is sent to the first of each can be read from the second."""
    made = [socket.socketpair() for _ in range(3)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def test_timers_go_off_by_their_time_and_equal_ones_by_their_order(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(0.02, lambda: seen.append("late"))
    loop.after(0.0, lambda: seen.append("first"))
    loop.after(0.0, lambda: seen.append("second"))
    loop.after(0.01, lambda: seen.append("soon"))
    loop.after(0.03, loop.stop)
    loop.run()
    assert seen == ["first", "second", "soon", "late"]


def test_a_cancelled_timer_never_goes_off(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(0.0, lambda: seen.append("kept"))
    loop.after(0.0, lambda: seen.append("cancelled")).cancel()
    later = loop.after(0.01, lambda: seen.append("cancelled by another"))
    loop.after(0.005, later.cancel)
    loop.after(0.02, loop.stop)
    loop.run()
    assert seen == ["kept"]


def test_a_timer_may_start_another_and_others_get_their_turn(loop: Loop, pairs: Pairs) -> None:
    """Even one that is due at once: a chain of them does not shut out the sockets."""
    turns = 0

    def again() -> None:
        nonlocal turns
        turns += 1
        loop.after(0, again)

    again()
    loop.watch(pairs[0][1], lambda *_: loop.stop())
    pairs[0][0].send(b"x")
    loop.run()
    assert turns < 10


def test_a_call_from_another_thread_wakes_the_loop(loop: Loop) -> None:
    seen: list[int] = []

    def call() -> None:
        for number in range(1000):
            loop.call(lambda number=number: seen.append(number))  # type: ignore[misc]
        loop.call(loop.stop)

    thread = threading.Thread(target=call)
    loop.after(0, thread.start)
    loop.run()
    thread.join()
    assert seen == list(range(1000))


def test_calls_beyond_what_the_wake_up_pipe_holds_are_not_lost(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(100_000):
        loop.call(lambda number=number: seen.append(number))  # type: ignore[misc]
    loop.call(loop.stop)
    loop.run()
    assert len(seen) == 100_000


def test_what_a_call_calls_is_done_in_the_next_turn(loop: Loop) -> None:
    order: list[str] = []
    loop.call(lambda: (order.append("call"), loop.call(lambda: (order.append("nested"), loop.stop()))))  # type: ignore[func-returns-value]
    loop.at_turn_end(lambda: order.append("end"))
    loop.run()
    assert [word for word in order if word != "end"] == ["call", "nested"]
    assert order.index("end") < order.index("nested")


def test_the_end_of_a_turn_comes_after_everything_in_it(loop: Loop, pairs: Pairs) -> None:
    order: list[str] = []
    loop.watch(pairs[0][1], lambda *_: order.append("event"))
    pairs[0][0].send(b"x")
    loop.call(lambda: order.append("call"))
    loop.after(0, lambda: (order.append("timer"), loop.stop()))  # type: ignore[func-returns-value]
    loop.at_turn_end(lambda: order.append("end 1"))
    loop.at_turn_end(lambda: order.append("end 2"))
    loop.run()
    assert order[-5:] == ["event", "call", "timer", "end 1", "end 2"]


def test_readable_and_writable_are_told_apart(loop: Loop, pairs: Pairs) -> None:
    seen: list[tuple[bool, bool]] = []
    ours, theirs = pairs[0]

    def on_event(readable: bool, writable: bool) -> None:
        seen.append((readable, writable))
        if len(seen) == 1:
            ours.send(b"x")
        elif len(seen) == 2:
            loop.watch(theirs, on_event)  # only to be read from now on
        else:
            loop.stop()

    loop.watch(theirs, on_event, write=True)
    loop.run()
    assert seen == [(False, True), (True, True), (True, False)]


def test_an_end_of_stream_is_readable(loop: Loop, pairs: Pairs) -> None:
    seen: list[tuple[bool, bool]] = []
    loop.watch(pairs[0][1], lambda readable, writable: (seen.append((readable, writable)), loop.stop()))  # type: ignore[func-returns-value]
    pairs[0][0].close()
    loop.run()
    assert seen == [(True, False)]


def test_whoever_is_unwatched_within_a_turn_hears_nothing_more(loop: Loop, pairs: Pairs) -> None:
    """Both are readable; whichever comes first forgets the other."""
    seen: list[int] = []

    def on_event(index: int) -> None:
        seen.append(index)
        loop.unwatch(pairs[1 - index][1])
        loop.after(0, loop.stop)

    for index in (0, 1):
        pairs[index][0].send(b"x")
        loop.watch(pairs[index][1], lambda *_, index=index: on_event(index))  # type: ignore[misc]
    loop.run()
    assert len(set(seen)) == 1


def test_an_event_of_a_closed_descriptor_does_not_reach_the_next_one_of_its_number(loop: Loop, pairs: Pairs) -> None:
    """What was readable was another socket: a handler that trusts its event would wait for ever."""
    wrong: list[str] = []

    def on_event(index: int) -> None:
        other, idle = pairs[1 - index][1], pairs[2][1]
        number = other.fileno()
        loop.unwatch(other)
        os.dup2(idle.fileno(), number)  # closes the one, and gives its number to the other
        loop.watch(other, lambda *_: wrong.append("called for nothing"))
        loop.unwatch(pairs[index][1])
        loop.after(0.001, loop.stop)

    for index in (0, 1):
        pairs[index][0].send(b"x")
        loop.watch(pairs[index][1], lambda *_, index=index: on_event(index))  # type: ignore[misc]
    loop.run()
    assert wrong == []


def test_unwatching_what_is_not_watched_is_no_trouble(loop: Loop, pairs: Pairs) -> None:
    loop.unwatch(pairs[0][1])
    loop.watch(pairs[0][1], lambda *_: None)
    loop.unwatch(pairs[0][1])
    loop.unwatch(pairs[0][1])
    loop.watch(number := pairs[0][1].fileno(), lambda *_: None)
    pairs[0][1].close()
    loop.unwatch(number)
    loop.unwatch(pairs[0][1])


def test_a_closed_loop_has_closed_its_descriptors() -> None:
    def open_descriptors() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before = open_descriptors()
    Loop().close()
    assert open_descriptors() == before


def test_a_call_after_the_end_goes_nowhere(tmp_path: Path) -> None:
    """The connecting thread may come too late; the loop's descriptor is another file's by then."""
    loop = Loop()
    number = loop.wake_write
    loop.close()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        os.dup2(file.fileno(), number)
        loop.call(lambda: None)
        os.close(number)
    assert (tmp_path / "file").read_bytes() == b""
