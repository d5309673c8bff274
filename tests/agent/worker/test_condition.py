"""How a program is that is started again and again."""

import msgspec

from maas_agent.ipc import SourceIs
from maas_agent.worker.sources.condition import SourceCondition


def test_a_program_waits_until_it_has_proved_itself() -> None:
    condition = SourceCondition()
    assert condition.now.state == "waiting"
    condition.started()
    assert condition.now == SourceIs("waiting", "it has not printed a line yet")
    condition.proved()
    assert condition.now == SourceIs("running")


def test_what_has_failed_stays_so_until_a_later_run_proves_itself() -> None:
    """A program that ends at once is started every few seconds: between two attempts nothing is well."""
    condition = SourceCondition()
    condition.refused("there is no /x")
    for _ in range(3):
        condition.started()
        assert condition.now == SourceIs("failed", "there is no /x")
        condition.ended("it ended with status 1", well=False, spoke=False)
        assert condition.now == SourceIs("failed", "it ended with status 1")
        condition.refused("there is no /x")
    condition.started()
    condition.proved()
    assert condition.now == SourceIs("running")


def test_a_program_that_prints_and_ends_well_is_a_source_between_two_runs_too() -> None:
    condition = SourceCondition()
    for _ in range(5):
        condition.started()
        condition.proved()
        condition.ended("it ended with status 0", well=True, spoke=True)
        assert condition.now == SourceIs("running")


def test_a_program_that_has_nothing_to_say_three_times_in_a_row_is_no_source() -> None:
    """Such as a shell whose first program is not there, before a filter that ends well."""
    condition = SourceCondition()
    states = []
    for spoke in (False, False, True, False, False, False, False, True):
        condition.started()
        condition.ended("it ended", well=True, spoke=spoke)
        states.append(condition.now.state)
    assert states == ["waiting", "waiting", "running", "waiting", "waiting", "failed", "failed", "running"]


def test_a_reason_is_no_longer_than_what_the_hub_takes() -> None:
    """A whole script may have been written where a program's name belongs."""
    condition = SourceCondition()
    condition.refused("there is no " + "x" * 100_000)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(condition.now), type=SourceIs) == condition.now
    for _ in range(3):
        condition.ended("x" * 100_000, well=True, spoke=False)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(condition.now), type=SourceIs) == condition.now
