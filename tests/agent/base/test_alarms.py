"""The list of what a person should look at, as it is said now and as it was."""

import pytest

from maas_agent.base.alarms import LONGEST_TEXT, MOST, Alarm, alarms_of, bounded

DISK = {"severity": "error", "code": "outbox", "text": "disk full", "since": "2026-12-01T10:00:00.000Z"}


def test_an_alarm_is_read_as_it_is_said_now_and_as_earlier_agents_said_it() -> None:
    """A sentence, and what was wrong with the connection beside it."""
    assert alarms_of([DISK]) == [Alarm(**DISK)]  # type: ignore[arg-type]
    assert alarms_of(["disk full"], "two devices with one id") == [
        Alarm("error", "unknown", "disk full"),
        Alarm("warning", "connection", "two devices with one id"),
    ]


@pytest.mark.parametrize("said", [None, 5, "text", {"a": 1}, [7, None, {"severity": "worst", "code": "", "text": ""}]])
def test_what_is_no_alarm_is_left_out(said: object) -> None:
    assert alarms_of(said) == []


def test_there_are_so_many_that_a_retained_document_stays_small() -> None:
    """Errors are not crowded out by warnings."""
    warnings = [Alarm("warning", "source", f"{number}" + "x" * 9000) for number in range(2 * MOST)]
    found = bounded([*warnings, Alarm("error", "store", "read-only")])
    assert found[0] == Alarm("error", "store", "read-only") and len(found) == MOST
    assert {len(alarm.text) for alarm in found[1:]} == {LONGEST_TEXT}
