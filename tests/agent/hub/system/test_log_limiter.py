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
