"""Moves the outbox to the disk and back: writes behind, reads ahead, and bears with a disk that fails.

Messages are written in batches: when enough have gathered, or when the first of them has waited for a moment. One that
is done with by then is never written. A disk that is full, read-only or failing is an *alarm*: messages stay in
memory, and it is tried again. A file that is damaged is set aside, and a new one begun.
"""

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable
from itertools import islice, takewhile
from typing import Protocol, TypeVar

from maas_agent.base.log import Log
from maas_agent.hub.mqtt.flow.answered import AnsweredInputs, InputIdentity
from maas_agent.hub.outbox.entry import Entry, Priority
from maas_agent.hub.outbox.journal import (
    Changes,
    Journal,
    JournalDamaged,
    JournalRow,
    JournalUnavailable,
    Stub,
    key_of,
    priority_of,
    sequence_of,
)
from maas_agent.hub.outbox.timeline import Timeline
from maas_agent.hub.system.loop import Loop

BATCH = 256
"""So many messages are written at once, without waiting for more."""
_RETRY_S = 5.0
"""So long after the disk has failed it is tried again."""
_PAGE = 64
CAREFUL_S = 5.0
"""So long after a run that was killed the next kill is to cost little: it may be one of many."""
_CAREFUL_COMMIT_S = 0.02
"""In that time what is done with is removed so soon, that the next run does not send it again."""
AT_BROKER = 0
"""The key of a result that was never on the disk."""

T = TypeVar("T")


class SpoolListener(Protocol):
    """Who is told what happens on the disk."""

    def found(self) -> None:
        """An earlier run has left messages."""
        ...

    def written(self, entries: Iterable[Entry]) -> None:
        """These are on the disk."""
        ...

    def lost(self, rows: int) -> None:
        """So many messages were only on the disk, and cannot be read any more."""
        ...

    def alarmed(self) -> None:
        """`Spool.alarm` has changed."""
        ...


class Spool:
    """Holds what of the outbox is on the disk, or should be.

    ``keeps`` says whether new messages are written; without a ``journal`` nothing is ever on the disk.
    """

    def __init__(
        self,
        loop: Loop,
        journal: Journal | None,
        listener: SpoolListener,
        timeline: Timeline,
        log: Log,
        *,
        keeps: bool,
        commit_s: float,
    ) -> None:
        self._loop, self._journal, self._listener, self._timeline, self._log = loop, journal, listener, timeline, log
        self.answered = AnsweredInputs()
        self.keeps, self._commit_s = keeps and journal is not None, commit_s
        self._sequence = 0
        self._unwritten: dict[int, Entry] = {}
        self._held: dict[int, Entry] = {}
        """Entries that are on the disk, and in memory too."""
        self._removed: set[int] = set()
        """Rows that nobody wants any more."""
        # What is only on the disk lies behind these keys; the stubs of some of it have been looked up already.
        self._read_to: dict[Priority, int] = {}
        self._seen_to: dict[Priority, int] = {}
        self._stubs: dict[Priority, deque[Stub]] = {}
        self._read_from_the_start()
        self._careful_until = 0.0
        self._commit_due = self._retry_due = self._was_open = False
        self._complained: str | None = None
        self.rows = self.bytes = 0
        """What is only on the disk."""
        self.alarm: str | None = None
        """What is wrong with the disk, if anything."""
        self.set_aside: str | None = None
        """The file that was damaged, if there was one since the start."""

    def start(self) -> None:
        """Open the file, and tell what an earlier run has left in it."""
        self._guarded(self._open)
        self.look()

    @property
    def is_careful(self) -> bool:
        """Whether the run before this one was killed just now."""
        return self._timeline.now < self._careful_until

    def next_key(self, priority: Priority) -> int:
        """The key of a new message, which is put now."""
        self.look()
        self._sequence += 1
        return key_of(priority, self._sequence)

    def look(self) -> None:
        """The wall clock may have been set."""
        if self._timeline.look(self._sequence + 1):
            self._forget_stubs()  # those of an earlier run of the machine are older or younger now
            if self._must_save_readings:
                self._commit_soon()

    # ------------------------------------------------------------- what is in memory

    def add(self, entry: Entry) -> None:
        """Write it soon."""
        if self.keeps:
            self._unwritten[entry.key] = entry
            self._commit_soon()

    def remove(self, entry: Entry) -> None:
        """It is done with."""
        if entry.stored:
            del self._held[entry.key]
            self._removed.add(entry.key)
            self._commit_soon()
            return
        self._unwritten.pop(entry.key, None)
        if entry.answers is not None:
            entry.answers.left -= 1
            if not entry.answers.left:
                self.answered.add(entry.answers, AT_BROKER)
            entry.answers = None

    def release(self, entries: Iterable[Entry]) -> None:
        """These stored ones leave the memory: they are only on the disk now."""
        for entry in entries:
            del self._held[entry.key]
            self._count(1, entry.size)
            priority, before = entry.priority, entry.key - 1
            self._read_to[priority] = min(self._read_to[priority], before)
            if before < self._seen_to[priority]:
                self._seen_to[priority] = before
                self._stubs[priority].clear()

    # ------------------------------------------------------------- what is only on the disk

    def read(self, limit: int) -> list[Entry]:
        """At most so many messages that are only on the disk, the most urgent first: back into memory with them."""
        found: list[JournalRow] = []
        for priority in Priority:
            while len(found) < limit and (rows := self._page(priority, limit - len(found))):
                found += [row for row in rows if not self._is_elsewhere(row.key)]
        if not self.rows:  # the file was found to be damaged just now: they count as lost
            return []
        entries = [
            Entry(row.key, Priority(priority_of(row.key)), row.message, None, at, replayed=True, stored=True)
            for row, at in ((row, self._timeline.put_at(sequence_of(row.key), row.put_at)) for row in found)
        ]
        for entry in entries:
            self._held[entry.key] = entry
            self._count(-1, -entry.size)
        return entries

    def oldest(self, priority: Priority, besides: Container[int] = ()) -> Stub | None:
        """The oldest message of this priority that is only on the disk; ``besides`` holds keys that do not count."""
        stubs = self._stubs[priority]
        while stubs and self._is_elsewhere(stubs[0].key):
            stubs.popleft()
        looked_at = 0
        while self.rows:
            for stub in islice(stubs, looked_at, None):
                if not self._is_elsewhere(stub.key) and stub.key not in besides:
                    return stub
            looked_at = len(stubs)
            if not self._look_up(priority):
                break
        return None

    def find(self, key: int) -> Stub | None:
        """This message, if it is only on the disk."""
        if self._is_elsewhere(key):
            return None
        return next(iter(self._guarded(lambda journal: journal.stubs(key - 1, key + 1, 1)) or []), None)

    def forget(self, stub: Stub) -> None:
        """Nobody wants this one any more."""
        self.answered.dropped(stub.key)
        self._removed.add(stub.key)
        self._count(-1, -stub.size)
        self._commit_soon()

    def _page(self, priority: Priority, limit: int) -> list[JournalRow]:
        after, before = self._read_to[priority], key_of(priority + 1, 0)
        rows = self._guarded(lambda journal: journal.page(after, before, limit)) or []
        if rows:
            self._read_to[priority] = rows[-1].key
        return rows

    def _look_up(self, priority: Priority) -> bool:
        """Whether there are more stubs of this priority."""
        after, before = self._seen_to[priority], key_of(priority + 1, 0)
        stubs = self._guarded(lambda journal: journal.stubs(after, before, _PAGE)) or []
        if stubs:
            self._seen_to[priority] = stubs[-1].key
            at = self._timeline.put_at
            self._stubs[priority].extend(Stub(s.key, at(sequence_of(s.key), s.put_at), s.size) for s in stubs)
        return bool(stubs)

    def _read_from_the_start(self) -> None:
        for priority in Priority:
            self._read_to[priority] = self._seen_to[priority] = key_of(priority, 0)
            self._stubs[priority] = deque()

    def _forget_stubs(self) -> None:
        """What was looked up may be gone."""
        for priority, stubs in self._stubs.items():
            if stubs:
                self._seen_to[priority] = stubs[0].key - 1
                stubs.clear()

    def _is_elsewhere(self, key: int) -> bool:
        return key in self._held or key in self._removed

    def _count(self, rows: int, size: int) -> None:
        self.rows += rows
        self.bytes += size

    # ------------------------------------------------------------- writing

    def turn_end(self) -> None:
        """Enough may have gathered to be written at once."""
        if len(self._unwritten) >= BATCH:
            self.flush()

    def close(self) -> None:
        """Write what has gathered, and close the file."""
        self.flush()
        if self._journal is not None:
            self._journal.close()

    def _commit_soon(self) -> None:
        if not self._commit_due:
            self._commit_due = True
            wait_s = self._commit_s / 2
            self._loop.after(min(wait_s, _CAREFUL_COMMIT_S) if self.is_careful else wait_s, self._tick)

    def _tick(self) -> None:
        """Write what has waited: not what came just now, which the broker may have in a moment."""
        self._commit_due = False
        came_before = self._timeline.now - self._commit_s / 2
        waited = list(takewhile(lambda entry: entry.put_at <= came_before, self._unwritten.values()))
        if waited or self._removed or self._must_save_readings:
            self._guarded(lambda journal: self._write(journal, waited))
        if self._unwritten:
            self._commit_soon()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._unwritten or self._removed:
            self._guarded(lambda journal: self._write(journal, list(self._unwritten.values())))

    def _write(self, journal: Journal, entries: list[Entry]) -> None:
        rows = [JournalRow(entry.key, self._wall(entry), entry.size, entry.message) for entry in entries]
        inputs = _answered_by(entries)
        journal.write(rows, self._removed, self._changes(inputs))
        self._timeline.is_saved = True
        self.answered.saved(inputs)
        self._removed.clear()
        self._forget_stubs()
        for entry in entries:
            del self._unwritten[entry.key]
            entry.stored = True
            if entry.answers is not None:
                entry.answers.left -= 1
                entry.answers = None
            self._held[entry.key] = entry
        self._listener.written(entries)
        if not self.rows and not self._held:
            journal.shrink()

    def _changes(self, inputs: list[tuple[InputIdentity, int]]) -> Changes:
        """What is to be written beside the results of these inputs, and the keys of those."""
        readings = None if self._timeline.is_saved else self._timeline.readings
        return Changes(readings, *self.answered.changes(inputs))

    @property
    def _must_save_readings(self) -> bool:
        """Whether there are rows whose times mean something else since the clock has jumped."""
        return not self._timeline.is_saved and bool(self.rows or self._held)

    def _wall(self, entry: Entry) -> float:
        return self._timeline.wall(sequence_of(entry.key), entry.put_at)

    # ------------------------------------------------------------- when the disk fails

    def _guarded(self, action: Callable[[Journal], T]) -> T | None:
        """Do it; ``None`` if the disk is not well. That has been dealt with then."""
        if self._journal is None or self.alarm is not None:
            return None
        try:
            return action(self._journal)
        except JournalUnavailable as error:
            self._fails(str(error))
        except JournalDamaged as error:
            self._put_aside(self._journal, error)
        return None

    def _open(self, journal: Journal) -> None:
        totals = journal.open()
        if self._was_open:
            return
        self._was_open = True
        self._sequence += totals.last
        self._timeline.found(totals.readings, totals.last)
        self.answered.found(totals.answered)
        if totals.was_cut:
            self._careful_until = self._timeline.now + CAREFUL_S
        for entry in self._unwritten.values():  # they came while it could not be opened
            entry.key += totals.last
        self._unwritten = {entry.key: entry for entry in self._unwritten.values()}
        if totals.rows:
            self._count(totals.rows, totals.bytes)
            self._listener.found()

    def _fails(self, reason: str) -> None:
        self.alarm = reason
        if reason != self._complained:  # it is tried again and again, and told once
            self._complained = reason
            self._log.error("the outbox cannot be written: results are in memory only", reason=reason)
            self._listener.alarmed()
        if not self._retry_due:
            self._retry_due = True
            self._loop.after(_RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry_due, self.alarm = False, None
        self._guarded(self._open)
        self.flush()
        if self.alarm is None and self._complained is not None:
            self._complained = None
            self._log.info("the outbox is on the disk again")
            self._listener.alarmed()

    def _put_aside(self, journal: Journal, error: JournalDamaged) -> None:
        """Begin anew: what is in memory is written again, what was only on the disk is lost to this agent."""
        rows = self.rows
        try:
            self.set_aside = str(journal.set_aside())
            journal.open()
        except (JournalUnavailable, JournalDamaged) as trouble:
            self._fails(str(trouble))
        else:
            self._was_open = True
            self._log.error("the outbox was damaged, and is set aside", file=self.set_aside, reason=error, lost=rows)
        self.rows = self.bytes = 0
        for entry in self._held.values():
            entry.stored = False
            self._unwritten[entry.key] = entry
        self._held.clear()
        self._removed.clear()
        self._timeline.is_saved = False
        self.answered.clear()
        self._read_from_the_start()
        self._listener.lost(rows)
        self._listener.alarmed()
        if self._unwritten:
            self._commit_soon()


def _answered_by(entries: list[Entry]) -> list[tuple[InputIdentity, int]]:
    """The inputs of which all copies of the result are safe when these are on the disk, with the key of the last."""
    copies = Counter(id(entry.answers) for entry in entries if entry.answers is not None)
    last = {id(entry.answers): (entry.answers, entry.key) for entry in entries if entry.answers is not None}
    return [(one, key) for name, (one, key) in last.items() if one.left == copies[name]]
