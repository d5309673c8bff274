"""An outbox on a link and a loop that a test moves by hand, and on a real journal."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maas_agent.config import OutboxSettings
from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.entry import Priority
from maas_agent.hub.outbox.journal import NAME, Journal
from maas_agent.hub.outbox.outbox import Outbox
from tests.agent.hub.doubles import Lines


class Link:
    """The link as the outbox sees it: up or down, a quota, and what was published on it."""

    def __init__(self) -> None:
        self.connected = True
        self.send_quota = 65535
        self.most_bytes = 1 << 28
        self.sent: list[tuple[int, Outbound]] = []
        self._number = 0

    def publish(self, message: Outbound) -> int:
        assert self.connected
        if len(message.payload) > self.most_bytes:
            raise TooLargeError(len(message.payload), self.most_bytes)
        self._number += 1
        number = self._number if message.qos else 0
        self.sent.append((number, message))
        return number


class Clock:
    """Lets time pass without waiting for it: the timers of the loop, and the clocks of the outbox.

    ``now`` is in seconds since the machine's start, which is called ``boot``; ``wall`` is when that was, as the wall
    clock has it.
    """

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_790_000_000.0
        self.boot = "first"
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def clock_gettime(self, which: int) -> float:
        assert which == self.CLOCK_BOOTTIME
        return self.now

    def boots(self, name: str, wall: float) -> None:
        """The machine starts anew, its wall clock at ``wall``; timers are gone with who set them."""
        self.boot, self.now, self.wall = name, 20.0, wall - 20.0

    def time(self) -> float:
        return self.wall + self.now

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, action))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end + 1e-9]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = end


class Setting:
    """An outbox, and how often each message has become safe. Payloads are numbers."""

    def __init__(
        self, clock: Clock, folder: Path | None, journal: Callable[[Path], Journal] | None = None, **settings: Any
    ) -> None:
        self.clock, self.folder = clock, folder
        self._journal = journal or (lambda path: Journal(path, survives_power_cuts=False))
        self._settings = OutboxSettings(durability="none" if folder is None else "process", **settings)
        self.safe: list[int] = []
        self.batches = 0
        """Transactions of the journal."""
        self.log = Lines()
        self.alarms: list[list[str]] = []
        self.start()

    def start(self) -> None:
        """Begin, or begin again as after a kill: what was in memory is gone."""
        self.link = Link()
        self.link.connected = False
        journal = None if self.folder is None else self._journal(self.folder / NAME)
        if journal is not None:
            self._count_batches(journal)
        loop: Any = self.clock
        self.outbox = Outbox(loop, self.link, self._settings, journal, self._alarmed, self.log)

    def _count_batches(self, journal: Journal) -> None:
        write = journal.write

        def counted(*batch: Any) -> None:
            self.batches += 1
            write(*batch)

        journal.write = counted  # type: ignore[method-assign]

    def _alarmed(self) -> None:
        self.clock.after(0, lambda: self.alarms.append(self.outbox.alarms))

    def kill(self) -> None:
        """The end of the process, as far as the file and the timers are concerned."""
        self.clock.timers.clear()
        journal = self.outbox._spool._journal
        if journal is not None:
            journal.close()
        self.outbox = None  # type: ignore[assignment]

    def connect(self) -> None:
        self.link.connected = True
        self.outbox.link_up()

    def lose_the_link(self) -> None:
        self.link.connected = False
        self.outbox.link_down()
        self.link.sent.clear()

    def put(self, *numbers: int, qos: int = 1, priority: Priority = Priority.RESULT, payload: bytes = b"") -> None:
        """Results of inputs, which wait for them to be safe."""
        for number in numbers:
            message = Outbound("out", payload or b"%d" % number, qos)
            self.outbox.put(message, lambda number=number: self.safe.append(number), priority)  # type: ignore[misc]

    def put_local(self, *numbers: int, priority: Priority = Priority.RESULT, payload: bytes = b"") -> None:
        """Results of a local source, for which nobody waits."""
        for number in numbers:
            self.outbox.put(Outbound("out", payload or b"%d" % number, 1), priority=priority)

    def acknowledge(self, count: int = 1_000_000) -> None:
        """The oldest messages that are on their way."""
        for number, _ in self.link.sent[:count]:
            self.outbox.acknowledged(number)
        del self.link.sent[:count]

    def written(self) -> None:
        """Let what has gathered be written."""
        self.clock.advance(self._settings.commit_s)

    @property
    def payloads(self) -> list[int]:
        """What was sent and is not acknowledged."""
        return [int(message.payload) for _, message in self.link.sent]

    def replayed_in(self, seconds: float) -> list[int]:
        """Let time pass while the broker acknowledges at once; what was sent, in order."""
        sent: list[int] = []
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.outbox.pump()
            sent += self.payloads
            self.acknowledge()
        return sent
