"""The outbox's file, damaged in ways that SQLite does not see."""

import sqlite3
from pathlib import Path

import pytest

from maas_agent.hub.outbox.journal import Journal, JournalDamaged

GOOD = b"\x92\xa1t\xc4\x01x"


@pytest.mark.parametrize(
    ("put_at", "size", "body"),
    [(6.0, 1, None), (6.0, 1, "text"), (6.0, 1, b"\x92\xa1\xff\xc4\x00"), ("soon", 1, GOOD), (6.0, "large", GOOD)],
)
def test_a_row_that_is_none_is_damage_and_not_the_end_of_the_agent(
    tmp_path: Path, put_at: object, size: object, body: object
) -> None:
    """Whatever the type of its column, SQLite gives back what is there."""
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE message (key INTEGER PRIMARY KEY, put_at, size, body)")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO message VALUES (1, ?, ?, ?)", (put_at, size, body))
    connection.close()
    journal = Journal(path, survives_power_cuts=False)
    with pytest.raises(JournalDamaged):
        journal.open()
        journal.page(0, 1 << 50, 10)
    assert not journal.is_open
