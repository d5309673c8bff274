"""The outbox's disk when it is full, cannot be opened, or is damaged: an alarm, and as little lost as can be."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import NAME, Journal, Totals, key_of
from tests.agent.hub.outbox.outboxes import Clock, Setting

FULL = "the outbox cannot be written: database or disk is full; results are in memory only"
RETRY_S = 5.1


class Small(Journal):
    """A journal on a disk with room for so many pages more than it has: SQLite's own error when they are used up."""

    room: int | None = None

    def open(self) -> Totals:
        totals = super().open()
        self.allow(Small.room)
        return totals

    def allow(self, pages: int | None) -> None:
        Small.room = pages
        assert self._connection is not None
        (now,) = self._connection.execute("PRAGMA page_count").fetchone()
        self._connection.execute(f"PRAGMA max_page_count = {1 << 30 if pages is None else now + pages}")


@pytest.fixture
def small(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(Small, "room", 0)
    return Setting(clock, tmp_path, lambda path: Small(path, survives_power_cuts=True))


def test_a_full_disk_is_an_alarm_and_results_stay_in_memory(small: Setting) -> None:
    small.put(*range(100))
    small.written()
    assert (small.safe, small.outbox.in_memory, len(small.outbox)) == ([], 100, 100)
    small.clock.advance(0)
    assert small.alarms == [[FULL]]
    small.connect()
    small.outbox.pump()
    assert small.payloads == list(range(100))
    small.acknowledge()
    assert small.safe == list(range(100))


def test_when_there_is_room_again_they_are_written_and_the_alarm_ends(small: Setting) -> None:
    small.put(*range(100))
    small.written()
    for _ in range(5):
        small.clock.advance(RETRY_S)
    assert small.alarms == [[FULL]]
    assert small.log.told == [("error", "the outbox cannot be written: results are in memory only")]  # once
    Small.room = None
    small.clock.advance(RETRY_S)
    assert (small.safe, small.outbox.on_disk_only, small.alarms) == (list(range(100)), 100, [[FULL], []])
    small.kill()
    small.start()
    small.connect()
    assert small.replayed_in(1) == list(range(100))


def test_what_is_on_a_full_disk_is_still_sent_and_removed_when_there_is_room(small: Setting) -> None:
    Small.room = None
    small.kill()
    small.start()
    small.put(*range(50))
    small.written()
    small.outbox._spool._journal.allow(0)  # type: ignore[union-attr]
    small.put(*range(50, 200))
    small.written()
    small.clock.advance(0)
    assert small.alarms == [[FULL]]
    small.connect()
    Small.room = None
    assert sorted(set(small.replayed_in(10))) == list(range(200))
    small.clock.advance(1)
    small.kill()
    small.start()
    assert len(small.outbox) == 0


def test_a_full_disk_bounds_the_memory(small: Setting) -> None:
    payload = bytes(1 << 20)
    for number in range(40):
        small.put_local(number, payload=payload)
        small.written()
    assert small.outbox._held_bytes <= 17 << 20
    assert small.outbox.dropped == 40 - len(small.outbox) > 20
    small.connect()
    small.outbox.pump()
    assert len(small.link.sent) == len(small.outbox)


def test_a_file_that_cannot_be_opened_is_tried_again_and_what_it_holds_is_sent(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path)
    setting.put(*range(5))
    setting.written()
    setting.kill()
    (tmp_path / NAME).rename(tmp_path / "elsewhere")
    (tmp_path / NAME).mkdir()
    setting.start()
    setting.put(*range(5, 10))
    setting.clock.advance(1)
    assert setting.alarms[-1] and "unable to open" in setting.alarms[-1][0]
    assert setting.safe == [0, 1, 2, 3, 4]
    (tmp_path / NAME).rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / NAME)
    setting.clock.advance(RETRY_S)
    assert (setting.safe, len(setting.outbox), setting.alarms[-1]) == (list(range(10)), 10, [])
    setting.connect()
    assert setting.replayed_in(1) == list(range(10))


def overwritten(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def with_schema(path: Path, schema: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()


def odd_schema(path: Path) -> None:
    with_schema(path, 1 << 20)


def no_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE message")
    connection.close()


def broken_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [overwritten, odd_schema, no_table, broken_pages])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    clock: Clock, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    setting = Setting(clock, tmp_path)
    setting.put(*range(500))
    setting.written()
    setting.kill()
    damage(tmp_path / NAME)
    found = (tmp_path / NAME).read_bytes()
    setting.start()
    aside = tmp_path / f"{NAME}.damaged"
    assert aside.read_bytes() == found
    assert ("error", "the outbox was damaged, and is set aside") in setting.log.told
    setting.put(1000)
    setting.written()
    assert setting.alarms == [[f"the outbox was damaged, and is set aside: {aside}"]]
    setting.kill()
    setting.start()
    setting.connect()
    assert setting.replayed_in(1) == [1000]


def test_a_file_of_a_newer_agent_is_left_alone_and_said_to_be(clock: Clock, tmp_path: Path) -> None:
    """It waits for that agent to be installed again; results stay in memory meanwhile."""
    setting = Setting(clock, tmp_path)
    setting.put(1)
    setting.written()
    setting.kill()
    with_schema(tmp_path / NAME, 2)
    setting.start()
    setting.put(2)
    setting.clock.advance(RETRY_S)
    ((alarm,),) = setting.alarms
    assert "is of a newer maas-agent: it has the schema 2, and this one knows 1" in alarm
    setting.connect()
    setting.outbox.pump()
    assert (setting.payloads, setting.safe) == ([2], [1])
    setting.kill()
    with_schema(tmp_path / NAME, 1)  # as the newer agent leaves it when it knows how to
    setting.start()
    setting.connect()
    assert setting.replayed_in(1) == [1]


def test_a_file_of_an_earlier_agent_is_read_and_an_earlier_agent_reads_what_this_one_wrote(
    clock: Clock, tmp_path: Path
) -> None:
    """That one knows one table, puts four columns into it, and takes no other schema than 1."""
    path = tmp_path / NAME
    body = msgspec.msgpack.encode(Outbound("out", b"1", 1))
    earlier = sqlite3.connect(path)
    earlier.execute(
        "CREATE TABLE message"
        " (key INTEGER PRIMARY KEY, put_at REAL NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL)"
    )
    earlier.execute("PRAGMA user_version = 1")
    earlier.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (key_of(1, 7), clock.time(), 300, body))
    earlier.commit()
    earlier.close()
    setting = Setting(clock, tmp_path)
    setting.put(2)
    setting.written()
    setting.kill()
    earlier = sqlite3.connect(path)
    assert earlier.execute("PRAGMA user_version").fetchone() == (1,)
    earlier.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (key_of(1, 9), clock.time(), 300, body))
    earlier.commit()
    earlier.close()
    setting.start()
    setting.connect()
    assert setting.replayed_in(1) == [1, 2, 1]


def test_damage_that_is_found_later_costs_only_what_was_nowhere_else(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path)
    for number in range(2000):
        setting.put(number, payload=b"%01000d" % number)
    setting.written()
    setting.kill()
    setting.start()  # its cache holds a part of the pages
    assert len(setting.outbox) == 2000
    with (tmp_path / NAME).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    setting.connect()
    setting.put(3000, 3001)
    setting.outbox.pump()
    sent = setting.payloads
    setting.acknowledge()
    sent += setting.replayed_in(10)
    assert {3000, 3001} <= set(sent)
    assert setting.outbox.unreadable > 0
    assert len(set(sent) - {3000, 3001}) + setting.outbox.unreadable == 2000
    assert (len(setting.outbox), setting.outbox.bytes) == (0, 0)
    assert setting.alarms[-1] == [f"the outbox was damaged, and is set aside: {tmp_path / NAME}.damaged"]


def test_a_message_that_cannot_be_read_is_damage_too(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path)
    setting.put(*range(3))
    setting.written()
    setting.kill()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("UPDATE message SET body = x'00' WHERE rowid = (SELECT MAX(rowid) FROM message)")
    connection.commit()
    connection.close()
    setting.start()
    setting.connect()
    assert setting.replayed_in(1) == []
    assert (setting.outbox.unreadable, len(setting.outbox)) == (3, 0)


def test_after_an_outage_the_file_is_small_again(clock: Clock, tmp_path: Path) -> None:
    setting = Setting(clock, tmp_path, replay_per_s=100_000)
    for number in range(800):
        setting.put(number, payload=bytes(10_000))
        setting.outbox.pump()
    setting.written()
    setting.connect()
    for _ in range(100):
        setting.clock.advance(0.05)
        setting.acknowledge()
    setting.clock.advance(1)
    assert len(setting.outbox) == 0
    setting.outbox.close()
    assert (tmp_path / NAME).stat().st_size <= 4 << 20
