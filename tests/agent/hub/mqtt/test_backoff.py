"""When to connect again, and when somebody else uses this client id."""

import statistics

import pytest

from maas_agent.hub.mqtt.backoff import FIRST_S, STABLE_S, Backoff, End

MAX_S = 60.0


def test_waits_lie_anywhere_below_a_bound_that_grows_to_the_longest() -> None:
    """Full jitter: a fleet does not return in step."""
    rows = [[backoff.ended(End.FAILED, 0.0) for _ in range(10)] for backoff in (Backoff(MAX_S) for _ in range(400))]
    bounds = [min(FIRST_S * 2**attempt, MAX_S) for attempt in range(10)]
    for bound, waits in zip(bounds, zip(*rows, strict=True), strict=True):
        assert min(waits) < 0.05 * bound and 0.95 * bound < max(waits) <= bound
        assert statistics.mean(waits) / bound == pytest.approx(0.5, abs=0.1)


def test_a_broker_that_accepts_and_then_kicks_is_not_hammered() -> None:
    backoff, now = Backoff(MAX_S), 0.0
    for _ in range(20):
        backoff.accepted(now)
        now += 1.0 + backoff.ended(End.FAILED, now + 1.0)
    waits = [backoff.ended(End.FAILED, now) for _ in range(100)]
    assert max(waits) > 0.9 * MAX_S and statistics.mean(waits) > 0.3 * MAX_S


def test_a_connection_that_lasted_ends_the_growth() -> None:
    backoff = Backoff(MAX_S)
    for _ in range(10):
        backoff.ended(End.FAILED, 0.0)
    backoff.accepted(0.0)
    assert not backoff.is_stable(STABLE_S - 1)
    assert backoff.is_stable(STABLE_S)
    assert backoff.ended(End.FAILED, STABLE_S) <= FIRST_S


def test_whoever_is_told_that_his_session_was_taken_over_waits_for_at_least_half_of_the_longest() -> None:
    backoff, now = Backoff(MAX_S), 0.0
    for _ in range(20):
        backoff.accepted(now)
        now += STABLE_S + 10
        wait_s = backoff.ended(End.TAKEN_OVER, now)
        assert MAX_S / 2 <= wait_s <= MAX_S
        now += wait_s
    assert backoff.is_shared(now)


def test_a_row_of_short_lives_without_a_word_is_taken_for_a_shared_id_and_a_few_are_not() -> None:
    """A restart or a failover breaks a connection or two."""
    backoff, now = Backoff(MAX_S), 0.0
    for attempt in range(4):
        assert not backoff.is_shared(now)
        backoff.accepted(now)
        now += 2.0
        wait_s = backoff.ended(End.CLOSED, now)
        assert (wait_s >= MAX_S / 2) == (attempt == 3)
    assert backoff.is_shared(now)


def test_long_lives_and_breaks_with_a_reason_are_no_such_row() -> None:
    backoff, now = Backoff(MAX_S), 0.0
    for attempt in range(40):
        backoff.accepted(now)
        now += STABLE_S + 1 if attempt % 3 == 2 else 1.0
        backoff.ended(End.CLOSED if attempt % 3 else End.FAILED, now)
        assert not backoff.is_shared(now)


def test_two_that_wait_for_each_other_are_no_peace_and_a_long_quiet_is() -> None:
    backoff = Backoff(MAX_S)
    backoff.accepted(0.0)
    backoff.ended(End.TAKEN_OVER, 1.0)
    backoff.accepted(50.0)
    assert backoff.is_shared(50.0 + MAX_S)
    assert not backoff.is_shared(50.0 + 2 * MAX_S)
    assert backoff.ended(End.CLOSED, 50.0 + 2 * MAX_S) <= FIRST_S


def test_a_cut_while_an_id_is_shared_is_a_cut() -> None:
    """What cannot be reached is tried as ever: only an acceptance throws the other one out."""
    backoff = Backoff(MAX_S)
    backoff.accepted(0.0)
    backoff.ended(End.TAKEN_OVER, 1.0)
    assert backoff.ended(End.FAILED, 2.0) <= FIRST_S


def test_after_a_connection_that_lasted_a_row_of_short_lives_begins_anew() -> None:
    backoff, now = Backoff(MAX_S), 0.0
    for lived_s in (2.0, 2.0, 2.0, STABLE_S, 2.0, 2.0, 2.0):
        backoff.accepted(now)
        now += lived_s
        assert backoff.ended(End.CLOSED, now) < MAX_S / 2
        assert not backoff.is_shared(now)
    backoff.accepted(now)
    assert backoff.ended(End.CLOSED, now + 2.0) >= MAX_S / 2


def test_the_first_wait_is_up_to_half_a_second_and_half_a_minute_is_long() -> None:
    assert (FIRST_S, STABLE_S) == (0.5, 30.0)
