"""Writes the outbox to the disk: tables in SQLite with a write-ahead log, in batches.

What it promises is what SQLite promises (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous): with
``synchronous=FULL`` a batch that was written survives a power cut, with ``NORMAL`` the end of this process. The hub is
the only one that opens the file (it holds the lock of the store), so locks are taken once, and the index of the log is
in memory.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.mqtt.flow.answered import AnsweredInput
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.timeline import ClockReading

NAME = "outbox.db"
_MODE = 0o600
_SEQUENCE_BITS = 48
_SCHEMA = 1
_ODD_SCHEMA = 1000
"""No maas-agent writes such a one: the file is damaged."""
_TABLES = {
    "message": "key INTEGER PRIMARY KEY, put_at REAL NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL",
    "answered": "number INTEGER PRIMARY KEY, digest BLOB NOT NULL, key INTEGER NOT NULL",
    "clock": "first INTEGER PRIMARY KEY, boot TEXT NOT NULL, ahead REAL NOT NULL",
}
_LOG_PAGES = 1000
"""So long the log grows before it is copied into the table: a page that many batches touch is copied once."""
_LOG_BYTES = 4 << 20
_SHRINK_BYTES = 4 << 20
"""An empty file larger than this is made small again."""
_CACHE_KIB = 512
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR}
"""No database, or not the one that was written here. Every other error is the disk's: full, read-only, failing."""

_ODD = (*MALFORMED, TypeError, ValueError, OverflowError)
"""What damage that SQLite does not see comes to: a NULL or a text where a number or a message was, a schema that is no
UTF-8."""

_decoder = msgspec.msgpack.Decoder(Outbound)


class JournalUnavailable(Exception):  # noqa: N818 - a state of the disk, not a defect
    """The disk does not take or give it now: full, read-only, failing. Its text says which."""


class JournalDamaged(Exception):  # noqa: N818
    """The file is no journal, or a broken one."""


class JournalRow(msgspec.Struct, frozen=True):
    """A message on the disk. Rows are in the order of their keys; ``put_at`` is what the wall clock said then, in
    seconds since 1970."""

    key: int
    put_at: float
    size: int
    message: Outbound


class Stub(msgspec.Struct, frozen=True):
    """A row without its message."""

    key: int
    put_at: float
    size: int


class Totals(msgspec.Struct, frozen=True):
    """What a journal held when it was opened. ``last`` is its highest sequence, 0 if it is empty."""

    rows: int = 0
    bytes: int = 0
    last: int = 0
    readings: tuple[ClockReading, ...] = ()
    """Of the wall clock, by which the times of its rows are understood."""
    answered: tuple[AnsweredInput, ...] = ()
    """Inputs whose results were safe, the oldest first."""
    was_cut: bool = False
    """Whether its last run did not close it: it was killed, or the power was cut."""


class Changes(msgspec.Struct, frozen=True):
    """What is written beside rows. ``readings`` replace those that are there, if there are others."""

    readings: Sequence[ClockReading] | None = None
    answered: Sequence[AnsweredInput] = ()
    forgotten: Sequence[int] = ()
    """Packet identifiers of inputs that are not to be recognised any more."""


NO_CHANGES = Changes()


def key_of(priority: int, sequence: int) -> int:
    """The key of a row: priority 0 before 1, and within one the order of the sequence, which is 1 or above."""
    return priority << _SEQUENCE_BITS | sequence


def priority_of(key: int) -> int:
    """The priority that a key was made with."""
    return key >> _SEQUENCE_BITS


def sequence_of(key: int) -> int:
    """The sequence that a key was made with."""
    return key & (1 << _SEQUENCE_BITS) - 1


class Journal:
    """Keeps the file.

    Methods raise `JournalUnavailable` or `JournalDamaged`; then nothing has changed, and it is closed.
    """

    def __init__(self, path: Path, *, survives_power_cuts: bool) -> None:
        self.path = path
        self._synchronous = "FULL" if survives_power_cuts else "NORMAL"
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be written, as far as is known."""
        return self._connection is not None

    def open(self) -> Totals:
        """Open or make the file, and tell what is in it."""
        with self._in_our_terms():
            was_cut = Path(f"{self.path}-wal").exists()  # SQLite removes its log when the file is closed
            _close_to_others(self.path)
            connection = self._connection = sqlite3.connect(self.path, timeout=0.0, isolation_level=None)
            for pragma in (
                "locking_mode = EXCLUSIVE",
                "journal_mode = WAL",
                f"synchronous = {self._synchronous}",
                f"wal_autocheckpoint = {_LOG_PAGES}",
                f"journal_size_limit = {_LOG_BYTES}",
                f"cache_size = -{_CACHE_KIB}",
                "temp_store = MEMORY",  # there may be no folder for temporary files
            ):
                connection.execute(f"PRAGMA {pragma}")
            _make_tables(connection)
            found = connection.execute(
                "SELECT COUNT(*), TOTAL(size), IFNULL(MAX(key & ?), 0) FROM message", ((1 << _SEQUENCE_BITS) - 1,)
            )
            rows, size, last = found.fetchone()
            readings = _readings(connection) if rows else ()
            answered = _answered(connection)
        # A reading counts from a message on that may be gone already, and so may be what an input was answered with:
        # the next message comes behind them.
        last = max(
            [last, *(reading.first - 1 for reading in readings[-1:]), *(sequence_of(known.key) for known in answered)]
        )
        return Totals(rows, int(size), last, readings, answered, was_cut)

    def write(self, added: Iterable[JournalRow], removed: Iterable[int], changes: Changes = NO_CHANGES) -> None:
        """Add and remove rows, and what has changed beside them; all of it or nothing."""
        connection = self._opened()
        with self._in_our_terms():
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?)",
                [(row.key, row.put_at, row.size, msgspec.msgpack.encode(row.message)) for row in added],
            )
            connection.executemany("DELETE FROM message WHERE key = ?", [(key,) for key in removed])
            if changes is not NO_CHANGES:
                _change(connection, changes)
            connection.execute("COMMIT")

    def page(self, after: int, before: int, limit: int) -> list[JournalRow]:
        """The first rows with ``after`` < key < ``before``."""
        rows: list[JournalRow] = []
        with self._in_our_terms():
            for key, put_at, size, body in self._select("key, put_at, size, body", after, before, limit):
                rows.append(JournalRow(key, float(put_at), int(size), _decoder.decode(body)))
        return rows

    def stubs(self, after: int, before: int, limit: int) -> list[Stub]:
        """The same without their messages."""
        stubs: list[Stub] = []
        with self._in_our_terms():
            for key, put_at, size in self._select("key, put_at, size", after, before, limit):
                stubs.append(Stub(key, float(put_at), int(size)))
        return stubs

    def _select(self, columns: str, after: int, before: int, limit: int) -> sqlite3.Cursor:
        statement = f"SELECT {columns} FROM message WHERE key > ? AND key < ? ORDER BY key LIMIT ?"  # noqa: S608
        return self._opened().execute(statement, (after, before, limit))

    def shrink(self) -> None:
        """Give the disk back what an outage took: for a journal that has become empty."""
        connection = self._opened()
        with self._in_our_terms():
            if self.path.stat().st_size > _SHRINK_BYTES:
                connection.execute("VACUUM")

    def set_aside(self) -> Path:
        """Rename the file, so that a person can look at it and a new one can be opened; returns its new path."""
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with self._in_our_terms():
            for ending in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").replace(f"{aside}{ending}")
            self.path.replace(aside)
        return aside

    def close(self) -> None:
        """Close the file; what was written is in it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalUnavailable("it could not be opened")
        return self._connection

    @contextmanager
    def _in_our_terms(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, JournalDamaged, JournalUnavailable, *_ODD) as error:
            self.close()  # which also undoes what was begun
            raise _translated(error) from None


def _close_to_others(path: Path) -> None:
    """Results are for nobody else, whatever the umask. SQLite gives its log and index the mode of the file.

    A file of another owner's, or on a disk that takes nothing, stays as it is: `open` tells whether it can be used.
    """
    # The log and the index are there after a run that was killed: it may have made them open to others.
    for ending, flags in (("", os.O_CREAT), ("-wal", 0), ("-shm", 0)):
        with suppress(OSError):
            descriptor = os.open(f"{path}{ending}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, _MODE)
            try:
                os.fchmod(descriptor, _MODE)
            finally:
                os.close(descriptor)


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make what is missing. An earlier maas-agent knows the first table only, and takes a file that has more."""
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if _SCHEMA < schema < _ODD_SCHEMA:
        raise JournalUnavailable(
            f"{NAME} is of a newer maas-agent: it has the schema {schema}, and this one knows {_SCHEMA}; "
            "install the newer one again, or move the file away"
        )
    if schema not in (0, _SCHEMA):
        raise JournalDamaged(f"it has the schema {schema}, and this maas-agent knows {_SCHEMA}")
    made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if schema == _SCHEMA and "message" not in made:
        raise JournalDamaged("it has no table for messages")
    missing = _TABLES.keys() - made
    if not missing:
        return
    connection.execute("BEGIN IMMEDIATE")
    for name in missing:
        connection.execute(f"CREATE TABLE {name} ({_TABLES[name]})")
    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    connection.execute("COMMIT")


def _readings(connection: sqlite3.Connection) -> tuple[ClockReading, ...]:
    found = connection.execute("SELECT first, boot, ahead FROM clock ORDER BY first")
    readings = tuple(ClockReading(int(first), str(boot), float(ahead)) for first, boot, ahead in found)
    if not all(isfinite(reading.offset) for reading in readings):
        raise JournalDamaged("a reading of the clock is none")
    return readings


def _answered(connection: sqlite3.Connection) -> tuple[AnsweredInput, ...]:
    found = connection.execute("SELECT number, digest, key FROM answered ORDER BY key")
    return tuple(AnsweredInput(int(number), bytes(digest), int(key)) for number, digest, key in found)


def _change(connection: sqlite3.Connection, changes: Changes) -> None:
    if changes.readings is not None:
        connection.execute("DELETE FROM clock")
        rows = [msgspec.structs.astuple(reading) for reading in changes.readings]
        connection.executemany("INSERT INTO clock VALUES (?, ?, ?)", rows)
    connection.executemany("DELETE FROM answered WHERE number = ?", [(number,) for number in changes.forgotten])
    inputs = [(known.number, known.digest, known.key) for known in changes.answered]
    connection.executemany("INSERT OR REPLACE INTO answered VALUES (?, ?, ?)", inputs)


def _translated(error: Exception) -> Exception:
    if isinstance(error, JournalDamaged | JournalUnavailable):
        return error
    if isinstance(error, OSError):
        return JournalUnavailable(error.strerror or str(error))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return JournalDamaged(str(error)) if code in _DAMAGE else JournalUnavailable(str(error))
