"""Whose loss it is: the rules of the account. A harness that blames nobody would pass with any agent."""

from collections import Counter

import pytest

from tests.faults.account import Account, Deaths, is_lost_by_broker, settle, table
from tests.faults.clients import Sent
from tests.faults.sensor import local_account
from tests.faults.tap import Record

BEFORE, SENT, LATER, LATEST = 1.0, 2.0, 3.0, 4.0


def seen(*, offered: bool = False, taken: bool = False, reported: bool = False, settled: bool = False) -> Record:
    """What was read along, all of it at ``LATER``."""
    record = Record()
    if offered:
        record.offered["n0"].append(LATER)
    if taken:
        record.taken["n0"] = LATER
    if reported:
        record.reported["n0"].append(LATER)
    if settled:
        record.settled["n0"] = LATER
    return record


ACKNOWLEDGED = Sent(SENT, SENT)
NEVER, KILLED = Deaths(), Deaths(broker=[LATEST])


@pytest.mark.parametrize(
    ("sent", "record", "deaths"),
    [
        (ACKNOWLEDGED, seen(), NEVER),
        (ACKNOWLEDGED, seen(), Deaths(broker=[BEFORE])),
        (ACKNOWLEDGED, seen(offered=True, taken=True), KILLED),
        (ACKNOWLEDGED, seen(offered=True, taken=True, reported=True), KILLED),
        (ACKNOWLEDGED, seen(offered=True, reported=True), KILLED),
        (ACKNOWLEDGED, seen(offered=True, reported=True, settled=True), NEVER),
        (Sent(SENT), seen(), KILLED),
    ],
    ids=[
        "no broker was killed",
        "it was killed before the input",
        "the agent had taken it",
        "a result was sent, the broker did not take it, and the input is acknowledged",
        "a result was sent, the broker did not take it, and the hub lived on",
        "the broker has the result, and lives",
        "the broker has not acknowledged the input",
    ],
)
def test_what_cannot_be_shown_to_be_the_brokers_loss_is_the_agents(sent: Sent, record: Record, deaths: Deaths) -> None:
    assert not is_lost_by_broker("n0", sent, record, deaths)
    account = settle({"n0": sent}, Counter(), 0, record, deaths)
    assert (account.lost, account.lost_by_broker) == (1, 0)


@pytest.mark.parametrize(
    ("sent", "record", "deaths"),
    [
        (ACKNOWLEDGED, seen(), KILLED),
        (ACKNOWLEDGED, seen(offered=True), KILLED),
        (ACKNOWLEDGED, seen(offered=True, reported=True), Deaths(broker=[LATEST], hub=[LATEST])),
        (ACKNOWLEDGED, seen(offered=True, taken=True, reported=True, settled=True), KILLED),
        (Sent(SENT, SENT, unrouted=True), seen(), NEVER),
    ],
    ids=[
        "killed before the agent had it",
        "killed before the agent acknowledged it",
        "killed with a hub that had not acknowledged it",
        "killed after it had the result",
        "it said that it knew of no agent",
    ],
)
def test_what_a_broker_had_when_it_was_killed_is_its_own_loss(sent: Sent, record: Record, deaths: Deaths) -> None:
    account = settle({"n0": sent}, Counter(), 0, record, deaths)
    assert (account.lost, account.lost_by_broker) == (0, 1)


def test_answers_beyond_the_first_are_duplicates() -> None:
    account = settle({"n0": ACKNOWLEDGED, "n1": ACKNOWLEDGED}, Counter(n0=3, n1=1), 0, Record(), NEVER)
    assert (account.inputs, account.lost, account.duplicated, account.duplicates) == (2, 0, 2, 1.0)


def test_a_hole_in_a_run_a_missing_end_and_what_was_never_written_are_losses() -> None:
    answers = Counter({"a-1": 1, "a-3": 2, "b-1": 1})
    account = local_account(answers, {"a": 3, "b": 2}, never_written=4)
    assert (account.inputs, account.lost, account.duplicated) == (3 + 2 + 4, 1 + 1 + 4, 1)


def test_a_row_of_the_table_has_all_figures() -> None:
    row = table([("title", Account(3, 1000, 1, 2, 5, 0))]).splitlines()[-1]
    assert row == "| title | 3 | 1000 | 1 | 2 | 5 | 0.50% |"
