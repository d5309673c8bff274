"""The table of faults is what `make faults` prints: its faults, in their order, and a promise that was kept."""

from pathlib import Path

import pytest

from bench.outbox import WAYS, measure
from maas_agent.config import OutboxSettings
from tests.docs.pages import rows, section, text
from tests.faults.account import MOST_DUPLICATES, Account, table
from tests.faults.scenarios import SCENARIOS

PAGE = "docs/reliability.md"
TABLE = rows(section(PAGE, "## Every fault"))


def test_every_fault_that_is_played_is_in_the_table_and_nothing_else() -> None:
    assert [row[0] for row in TABLE] == [scenario.title for scenario in SCENARIOS.values()]


def test_the_table_is_as_it_is_printed_and_nothing_was_lost() -> None:
    accounts = []
    for title, faults, inputs, lost, lost_by_broker, duplicated, _ in TABLE:
        account = Account(int(faults), int(inputs), int(lost), int(lost_by_broker), int(duplicated), 0)
        assert account.lost == 0, title
        assert account.duplicates < MOST_DUPLICATES, title
        accounts.append((title, account))
    assert table(accounts) in text(PAGE)


def test_a_loss_by_the_broker_is_where_it_was_killed() -> None:
    killed = {scenario.title for scenario in SCENARIOS.values() if scenario.kills_broker}
    assert {row[0] for row in TABLE if row[4] != "0"} <= killed


def test_every_setting_of_durability_is_explained() -> None:
    settings = {row[0].strip("`").strip('"') for row in rows(section(PAGE, "## What survives what"))}
    assert settings == set(OutboxSettings.__annotations__["durability"].__args__)


COSTS = rows(section(PAGE, "## What the disk costs"))


def test_every_way_of_writing_is_in_the_table_of_costs() -> None:
    assert [(row[0], int(row[1])) for row in COSTS] == WAYS


@pytest.mark.parametrize("row", COSTS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_a_result_costs_the_bytes_that_the_page_says(row: list[str], tmp_path: Path) -> None:
    """Fewer results than there, so that what a file costs at all weighs more."""
    batch = int(row[1])
    _, size = measure(tmp_path, batch, survives_power_cuts=row[0] == "power", rows=4 * max(batch, 64))
    if size == 0:
        pytest.skip("the kernel counts no bytes here: a tmpfs")
    assert 0.5 < size / int(row[3].replace(",", "")) < 2
