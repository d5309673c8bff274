"""The outbox's file, damaged in ways that SQLite does not see."""

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import Journal, JournalDamaged, JournalRow

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


@pytest.mark.parametrize("umask", [0, 0o077])
def test_results_on_the_disk_are_for_nobody_else(tmp_path: Path, umask: int) -> None:
    """Whatever the umask is and the file was: the log and its index too, also those of a run that was killed."""
    path = tmp_path / "outbox.db"
    before = os.umask(umask)
    try:
        journal = Journal(path, survives_power_cuts=False)
        journal.open()
        journal.write([JournalRow(1, 1.0, 1, Outbound("t", b"x", 1))], [])
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files[:2]] == ["outbox.db", "outbox.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        for file in files:
            file.chmod(0o644)
        again = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-killed"))
        journal.close()
        assert Journal(again / path.name, survives_power_cuts=False).open().rows == 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in again.iterdir()} == {0o600}
    finally:
        os.umask(before)
