"""One line for each cause."""

import pytest

from maas_agent.hub.system import log_limiter
from maas_agent.hub.system.log_limiter import LogLimiter
from tests.agent.hub.doubles import Lines, Monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr(log_limiter, "time", clock)
    return clock


def test_a_cause_is_told_once_and_after_an_hour_with_how_often_it_came(clock: Monotonic) -> None:
    log = Lines()
    complaints = LogLimiter(log)
    for number in range(1000):
        complaints.error("refused", "broker refused a message", number=number)
    complaints.warning("other", "something else")
    clock.now += 3600
    complaints.error("refused", "broker refused a message", number=-1)
    assert log.lines == [
        ("error", "broker refused a message", {"number": 0, "times": None}),
        ("warning", "something else", {"times": None}),
        ("error", "broker refused a message", {"number": -1, "times": 999}),
    ]


def test_causes_without_end_are_bounded_in_lines_and_memory(clock: Monotonic) -> None:
    log = Lines()
    complaints = LogLimiter(log)
    for number in range(100_000):
        complaints.error(number, "new", number=number)
    assert len(log.lines) == 101
    assert log.lines[-1][1] == "more causes for complaints than are told"
    assert len(complaints._told) + len(complaints._untold) <= 200
    clock.now += 3600
    complaints.error("fresh", "told again")
    assert log.lines[-1][1] == "told again"


def test_a_warning_is_told_as_an_error_is(clock: Monotonic) -> None:
    log = Lines()
    complaints = LogLimiter(log)
    for number in range(3):
        complaints.warning("cause", "first", number=number)
        complaints.warning("other", "second", number=number)
    clock.now += 3599
    complaints.warning("cause", "first")
    clock.now += 1
    complaints.warning("cause", "first", number=9)
    complaints.warning("cause", "first")
    clock.now += 3600
    complaints.warning("cause", "first")
    assert log.lines == [
        ("warning", "first", {"number": 0, "times": None}),
        ("warning", "second", {"number": 0, "times": None}),
        ("warning", "first", {"number": 9, "times": 3}),
        ("warning", "first", {"times": 1}),
    ]


def test_that_there_are_too_many_causes_is_told_each_time_it_begins(clock: Monotonic) -> None:
    log = Lines()
    complaints = LogLimiter(log)
    for number in range(99):
        complaints.error(number, "new")
        complaints.error(number, "new")
    clock.now += 10
    complaints.error("last", "new")
    for late in ("a", "b"):
        complaints.error(late, "new")
    told = ("warning", "more causes for complaints than are told", {"told": 100})
    assert (len(log.lines), log.lines[-1]) == (101, told)
    clock.now += 3590  # ninety-nine may be told again, and so there is room
    complaints.error("c", "new", number=1)
    complaints.error("last", "new")
    assert log.lines[101:] == [("error", "new", {"number": 1, "times": None})]
    complaints.error(0, "new")  # what was counted for it went with it
    assert log.lines[102:] == [("error", "new", {"times": None})]
    for number in range(1, 98):
        complaints.error(number, "new")
    complaints.error("d", "new")
    assert log.lines[-1] == told
