"""Holds what the broker has not acknowledged: sends it over a connection, keeps it on the disk where that takes long.

A message is *safe* when the broker has it or the disk has it, whichever is first: then what it answers may be
acknowledged (``on_safe``). Messages are written in batches, a moment after they came; what the broker has by then is
never written, so that a device with a good connection does not wear out its flash.

While there is no connection everything goes to the disk and leaves the memory. Afterwards what comes now goes first,
and what has waited follows at a measured pace, marked as replayed. Beyond the bounds the least important go, of these
the oldest, counted. Only QoS 1 is written.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from maas_agent.base.log import Log
from maas_agent.config import OutboxSettings
from maas_agent.hub.mqtt.flow.answered import InputIdentity
from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.entry import Entry, OnSafe, Priority
from maas_agent.hub.outbox.journal import Journal, Stub, sequence_of
from maas_agent.hub.outbox.rewrite import corrected, error_instead, replayed
from maas_agent.hub.outbox.spool import Spool
from maas_agent.hub.outbox.timeline import Timeline
from maas_agent.hub.system.loop import Loop

_WINDOW = 256
_REPLAY_WINDOW = 64
"""Of these so many may be older ones that are replayed."""
_CAREFUL_WINDOW = 2
"""The same just after a run that was killed: what is under way when the next one is killed comes twice."""
_REPLAY_TICK_S = 0.05
_SLOW_BYTES = 4 << 20
"""When so much waits in memory for a broker that is slow, inputs stay with it as well."""
_FULL = 0.5
"""From this part of the bound on inputs stay with the broker until it has their results: else those would push others
out."""
_KEPT_BYTES = 12 << 20
"""Of what waits for a slow broker and is on the disk so much stays in memory; the rest is read back from there, at the
pace of a replay."""
_MEMORY_BYTES = 16 << 20
"""What may wait in memory while the disk takes nothing."""


class Sender(Protocol):
    """The link, as far as the outbox uses it."""

    @property
    def connected(self) -> bool:
        """Whether `publish` may be called."""
        ...

    @property
    def send_quota(self) -> int:
        """QoS 1 messages the broker takes before it has acknowledged any."""
        ...

    def publish(self, message: Outbound) -> int:
        """Send a message; returns the number that names it in its acknowledgement, 0 with QoS 0.

        Raises `TooLargeError` if the broker cannot take it.
        """
        ...


class Outbox:
    """Hands messages to the link, within its window. ``on_alarm`` is called when `alarms` has changed."""

    def __init__(
        self,
        loop: Loop,
        link: Sender,
        settings: OutboxSettings,
        journal: Journal | None,
        on_alarm: Callable[[], None],
        log: Log,
    ) -> None:
        self._loop, self._link, self._settings, self._on_alarm = loop, link, settings, on_alarm
        self._timeline = Timeline()
        self._waiting: dict[Priority, deque[Entry]] = {priority: deque() for priority in Priority}
        self._inflight: dict[int, Entry] = {}
        self._replaying = 0
        self._held_bytes = 0
        self._replay_due = self._ending = False
        self._allowance = 0.0
        self.dropped = 0
        """Beyond a bound."""
        self.unreadable = 0
        """On a disk that was damaged."""
        keeps = settings.durability != "none"
        self._owed: dict[int, tuple[OnSafe, int]] = {}
        """Of messages that are only on the disk, and their sizes, while so much is there that what they answer is not
        acknowledged."""
        self._owed_bytes = 0
        """Of all messages whose inputs are not acknowledged: the broker bounds how many there are, by its window."""
        self._spool = Spool(loop, journal, self, self._timeline, log, keeps=keeps, commit_s=settings.commit_s)
        self._max_held = _MEMORY_BYTES if self._spool.keeps else settings.max_bytes
        self._spool.start()

    def __len__(self) -> int:
        return self.in_memory + self._spool.rows

    @property
    def bytes(self) -> int:
        """What all of them take of the bound."""
        return self._held_bytes + self._spool.bytes

    @property
    def in_memory(self) -> int:
        """How many would be lost with this process, or are on their way."""
        return len(self._inflight) + sum(map(len, self._waiting.values()))

    @property
    def on_disk_only(self) -> int:
        """How many have left the memory."""
        return self._spool.rows

    @property
    def alarms(self) -> list[str]:
        """What a person should know of the disk."""
        alarms = []
        if self._spool.alarm is not None:
            alarms.append(f"the outbox cannot be written: {self._spool.alarm}; results are in memory only")
        if self._spool.set_aside is not None:
            alarms.append(f"the outbox was damaged, and is set aside: {self._spool.set_aside}")
        return alarms

    @property
    def oldest_s(self) -> float:
        """Age of the oldest message, in seconds."""
        times = [entry.put_at for entry in self._inflight.values()]
        for priority, waiting in self._waiting.items():
            times += [waiting[0].put_at] if waiting else []
            stub = self._spool.oldest(priority)
            times += [stub.put_at] if stub else []
        return max(0.0, self._now() - min(times)) if times else 0.0

    # ------------------------------------------------------------- what comes in

    def put(
        self,
        message: Outbound,
        on_safe: OnSafe | None = None,
        priority: Priority = Priority.RESULT,
        *,
        answers: InputIdentity | None = None,
    ) -> None:
        """Add a message; it is sent at the end of this turn if the link is up.

        ``answers`` is the input that it is the result of, if that may be recognised when it comes again. All copies of
        a result are put one after the other.
        """
        key, is_late = self._spool.next_key(priority), not self._link.connected
        self._add(Entry(key, priority, message, on_safe, self._now(), replayed=is_late, answers=answers))
        self._make_room()

    def recognises(self, one: InputIdentity, on_safe: OnSafe) -> bool:
        """Whether an input that comes again has its result here or at the broker: then it may be acknowledged.

        That is done at once, or, while too much is here, when its result has left.
        """
        known = self._spool.answered.find(one)
        if known is None:
            return False
        stub = self._spool.find(known.key) if self._is_filling else None
        if stub is None:
            on_safe()
        else:
            self._owed_bytes += 0 if stub.key in self._owed else stub.size
            self._owed[stub.key] = (on_safe, stub.size)
        return True

    def forget_input(self, number: int) -> None:
        """The broker uses the packet identifier for a new message."""
        self._spool.answered.forget(number)

    def _add(self, entry: Entry) -> None:
        self._waiting[entry.priority].append(entry)
        self._held_bytes += entry.size
        self._owed_bytes += entry.size if entry.on_safe is not None else 0
        if entry.message.qos:
            self._spool.add(entry)

    # ------------------------------------------------------------- what goes out

    def pump(self) -> None:
        """At the end of a turn: send what may be sent, and write what has gathered."""
        if self._link.connected:
            for waiting in self._waiting.values():
                while waiting and len(self._inflight) < self._window():
                    self._send(waiting.popleft())
        self._spool.turn_end()

    def link_up(self) -> None:
        """There is a connection: what has waited on the disk follows, and behind it what was still to be written."""
        if self._spool.rows:
            self._spool.flush()
            self._leave_to_the_disk(all_but=0)
        self._replay_soon()

    def link_down(self) -> None:
        """What was on its way may have arrived or not: it is sent again, in its old order."""
        for entry in reversed(self._inflight.values()):
            self._waiting[entry.priority].appendleft(entry)
        self._inflight.clear()
        self._replaying = 0
        for waiting in self._waiting.values():
            for entry in waiting:
                entry.replayed = True
        self._leave_to_the_disk(all_but=0)

    def acknowledged(self, number: int) -> None:
        """The broker has message ``number``."""
        entry = self._inflight.pop(number, None)
        if entry is not None:
            self._replaying -= entry.replayed
            self._done(entry)

    def _window(self) -> int:
        """How many may be on their way, with something left for a replay; a slow connection takes fewer and fewer."""
        window = self._most_under_way
        return window - max(1, window // 8) if self._spool.rows and window > 1 else window

    @property
    def _most_under_way(self) -> int:
        return min(_CAREFUL_WINDOW if self._spool.is_careful else _WINDOW, self._link.send_quota)

    def _send(self, entry: Entry) -> None:
        self._spool.look()
        sequence = sequence_of(entry.key)
        dated = corrected(entry.message, self._timeline.error(sequence))
        message: Outbound | None = dated
        if entry.replayed and entry.priority != Priority.EVENT:
            message = replayed(dated, self._now() - entry.put_at)
        if message is None:
            self._drop(entry)
            return
        try:
            number = self._link.publish(message)
        except TooLargeError as error:
            put_at = self._timeline.wall(sequence, entry.put_at) + self._timeline.error(sequence)
            self._replace(entry, error_instead(dated, error, put_at))
            return
        if message.qos:
            self._inflight[number] = entry
            self._replaying += entry.replayed
        else:
            self._done(entry)

    def _replace(self, entry: Entry, instead: Outbound | None) -> None:
        """What the broker cannot take is done with when what is sent instead is safe."""
        if instead is not None:
            key, on_safe, priority = self._spool.next_key(entry.priority), entry.on_safe, entry.priority
            self._owed_bytes -= entry.size if on_safe is not None else 0
            entry.on_safe = None
            answers, entry.answers = entry.answers, None
            # It takes less than what it replaces, so there is room.
            self._add(Entry(key, priority, instead, on_safe, entry.put_at, replayed=entry.replayed, answers=answers))
        self._done(entry)

    def _replay_soon(self) -> None:
        if self._spool.rows and self._link.connected and not self._replay_due and not self._ending:
            self._replay_due = True
            self._loop.after(_REPLAY_TICK_S, self._replay)

    def _replay(self) -> None:
        """Send some of what is only on the disk: as many as the pace and the window allow."""
        self._replay_due = False
        if not self._link.connected or self._ending:
            return
        pace = self._settings.replay_per_s * _REPLAY_TICK_S
        self._allowance = min(self._allowance + pace, max(pace, 1.0))
        window = self._most_under_way - len(self._inflight)
        room = min(int(self._allowance), window, _REPLAY_WINDOW - self._replaying)
        for entry in self._spool.read(room) if room > 0 else []:
            self._allowance -= 1
            entry.on_safe = self._owed.pop(entry.key, (None, 0))[0]
            self._held_bytes += entry.size
            self._send(entry)
        self._replay_soon()

    # ------------------------------------------------------------- bounds

    def expire(self) -> None:
        """Drop what has waited for longer than the bound."""
        self._spool.look()
        oldest = self._now() - self._settings.max_age_s
        for priority, waiting in self._waiting.items():
            while waiting and waiting[0].put_at < oldest:
                self._drop(waiting.popleft())
            while (stub := self._spool.oldest(priority)) and stub.put_at < oldest:
                self._forget(stub)

    def _make_room(self) -> None:
        """Drop the oldest of the least important while there is too much; the last one stays, however large it is.

        What an input waits for neither counts nor goes, as long as memory lasts: the broker sends only so many before
        one is acknowledged, and to drop a result acknowledges its input.
        """
        most, held = self._settings.max_bytes, self._max_held
        if self._held_bytes > held:
            self._spool.flush()  # what is on the disk may leave the memory
        while len(self) - len(self._inflight) > 1:
            is_on_disk, is_in_memory = self.bytes - self._owed_bytes > most, self._held_bytes > held
            even_owed = self._held_bytes > 2 * held
            if not (is_on_disk or is_in_memory) or not self._drop_one(only_memory=not is_on_disk, even_owed=even_owed):
                return

    def _drop_one(self, *, only_memory: bool, even_owed: bool) -> bool:
        for priority in reversed(Priority):
            may_go = (entry for entry in self._waiting[priority] if even_owed or entry.on_safe is None)
            entry = next(may_go, None)
            stub = None if only_memory else self._spool.oldest(priority, () if even_owed else self._owed)
            if stub is not None and (entry is None or stub.key < entry.key):
                self._forget(stub)
                return True
            if entry is not None:
                self._waiting[priority].remove(entry)
                self._drop(entry)
                return True
        return False

    def _drop(self, entry: Entry) -> None:
        self.dropped += 1
        entry.answers = None
        self._spool.answered.dropped(entry.key)
        self._done(entry)

    def _forget(self, stub: Stub) -> None:
        self.dropped += 1
        self._spool.forget(stub)
        if stub.key in self._owed:
            on_safe, size = self._owed.pop(stub.key)
            self._owed_bytes -= size
            on_safe()
        self._pay_if_room()

    def _done(self, entry: Entry) -> None:
        self._held_bytes -= entry.size
        self._pay_if_room()
        if entry.message.qos:
            self._spool.remove(entry)
        self._safe(entry)

    def _safe(self, entry: Entry) -> None:
        self._owed_bytes -= entry.size if entry.on_safe is not None else 0
        entry.safe()

    def _pay_if_room(self) -> None:
        if self._owed and not self._is_filling:
            self._pay()

    @property
    def _is_filling(self) -> bool:
        is_slow = self._link.connected and self._held_bytes > _SLOW_BYTES
        return is_slow or self.bytes > self._settings.max_bytes * _FULL

    def _pay(self) -> None:
        """There is room again: what is safe is acknowledged."""
        owed, self._owed = self._owed, {}
        for on_safe, size in owed.values():
            self._owed_bytes -= size
            on_safe()

    # ------------------------------------------------------------- the spool's listener

    def found(self) -> None:
        """An earlier run has left messages."""
        self._replay_soon()

    def written(self, entries: Iterable[Entry]) -> None:
        """These are on the disk: what they answer may be acknowledged, if there is room for what comes then."""
        for entry in entries if not self._is_filling else []:
            self._safe(entry)
        self._leave_to_the_disk(all_but=_KEPT_BYTES if self._link.connected and not self._ending else 0)

    def lost(self, rows: int) -> None:
        """So many were only on a damaged disk."""
        self.unreadable += rows
        self._pay()

    def alarmed(self) -> None:
        """The disk has failed, or has recovered."""
        self._on_alarm()

    def _leave_to_the_disk(self, *, all_but: int) -> None:
        """Forget what waits and is on the disk, but for the oldest so many bytes: it is read back from there."""
        if self._held_bytes <= all_but:
            return
        left = all_but
        for priority, waiting in self._waiting.items():
            kept: deque[Entry] = deque()
            leaving: list[Entry] = []
            for entry in waiting:
                left -= entry.size
                (leaving if entry.stored and left < 0 else kept).append(entry)
            self._waiting[priority] = kept
            self._held_bytes -= sum(entry.size for entry in leaving)
            self._owed |= {entry.key: (entry.on_safe, entry.size) for entry in leaving if entry.on_safe is not None}
            self._spool.release(leaving)
        self._replay_soon()

    def stop_replaying(self) -> None:
        """The end is near: what is only on the disk stays there."""
        self._ending = True

    def close(self) -> None:
        """Write what is left, and close the file; `in_memory` is what could not be written then."""
        self._ending = True
        self.link_down()
        self._spool.close()

    def _now(self) -> float:
        return self._timeline.now
