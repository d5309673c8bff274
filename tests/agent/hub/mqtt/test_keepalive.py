"""When a broker is asked for a sign of life, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.hub.mqtt.keepalive import Due, Keepalive


def found_after(keepalive: Keepalive, silent_since: float) -> float:
    """Seconds until a broker that says nothing any more is given up, looked at whenever something is due."""
    now = silent_since
    while True:
        now += keepalive.next_s(now)
        due = keepalive.due(now, 0)
        if due is Due.GIVE_UP:
            return now - silent_since
        if due is Due.ASK:
            keepalive.asked(now, 0)


@given(st.floats(1, 65_535), st.floats(0, 1e6))
def test_silence_is_found_within_one_and_a_half_intervals(interval_s: float, now: float) -> None:
    found_s = found_after(Keepalive(interval_s, 0, now), now)
    assert interval_s < found_s < 1.3 * interval_s


def test_a_sign_of_life_begins_the_time_anew_and_an_answer_ends_the_question() -> None:
    keepalive = Keepalive(100, 0, 0.0)
    keepalive.asked(75.0, 0)
    assert keepalive.due(124.0, 0) is Due.NOTHING
    keepalive.heard(124.0)
    keepalive.said(140.0)
    assert keepalive.due(198.0, 0) is Due.NOTHING
    assert found_after(keepalive, 198.0) == pytest.approx(124.0 + 125.0 - 198.0)


def test_a_broker_that_only_listens_is_asked_and_so_is_one_that_only_talks() -> None:
    """The broker wants to hear something too: section 3.1.2.10."""
    listening, talking = Keepalive(100, 0, 0.0), Keepalive(100, 0, 0.0)
    for now in range(0, 75, 5):
        listening.said(now)
        talking.heard(now)
    assert (listening.due(75.0, 0), talking.due(75.0, 0)) == (Due.ASK, Due.ASK)


def test_a_process_that_was_stopped_asks_before_it_gives_up() -> None:
    assert Keepalive(1, 0, 0.0).due(10_000.0, 0) is Due.ASK


@pytest.mark.parametrize(("server_s", "interval_s"), [(0, 30), (10, 10), (60, 30)])
def test_the_servers_keepalive_may_shorten_ours(server_s: int, interval_s: int) -> None:
    assert Keepalive(30, server_s, 0.0).interval_s == interval_s


def test_as_long_as_a_backlog_shrinks_the_question_is_on_its_way() -> None:
    keepalive, now = Keepalive(100, 0, 0.0), 75.0
    keepalive.asked(now, 1_000_000)
    for backlog in range(900_000, 0, -100_000):
        now += 50
        assert keepalive.due(now, backlog) is Due.NOTHING
    assert keepalive.due(now + 50, 100_000) is Due.GIVE_UP


def test_the_question_itself_is_no_backlog() -> None:
    """Its machine acknowledges every byte, whatever has become of the broker on it."""
    keepalive = Keepalive(100, 0, 0.0)
    keepalive.asked(75.0, 2000)
    assert keepalive.due(125.0, 0) is Due.GIVE_UP


def test_a_server_that_wants_to_hear_something_every_second_is_obeyed() -> None:
    assert Keepalive(30, 1, 0.0).interval_s == 1


@pytest.mark.parametrize(("backlog", "due"), [(1 << 16, Due.GIVE_UP), ((1 << 16) + 1, Due.NOTHING)])
def test_much_is_more_than_64_kib(backlog: int, due: Due) -> None:
    keepalive = Keepalive(100, 0, 0.0)
    keepalive.asked(75.0, backlog)
    assert keepalive.due(125.0, backlog - 1) is due


def test_it_says_how_long_nothing_is_due() -> None:
    keepalive = Keepalive(100, 0, 0.0)
    keepalive.heard(10.0)
    assert (keepalive.next_s(20.0), keepalive.next_s(80.0)) == (55.0, 0.0)
    keepalive.said(10.0)
    assert keepalive.next_s(20.0) == 65.0
    keepalive.asked(85.0, 0)
    assert keepalive.next_s(90.0) == 45.0
