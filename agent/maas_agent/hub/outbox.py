"""Results that the broker has not acknowledged yet: first in, first out, bounded by bytes and age.

It is kept in memory, so what makes an answer safe is the broker: only when that has the answer is the input
acknowledged (``on_safe``). If this process is killed, the broker still holds the input and sends it again. While there
is no connection results wait here; beyond the bounds the oldest go, counted.
"""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from maas_agent.hub.client import Outbound
from maas_agent.hub.link import Link

_WINDOW = 256
_OVERHEAD_BYTES = 256
"""What an entry costs beside its payload and topic."""


class Entry(msgspec.Struct):
    """A message in the outbox. ``on_safe`` is called once, when nothing can lose it any more."""

    message: Outbound
    on_safe: Callable[[], None] | None
    put_at: float

    @property
    def size(self) -> int:
        """Bytes this takes of the bound."""
        return len(self.message.payload) + len(self.message.topic) + _OVERHEAD_BYTES


class Outbox:
    """Hands messages to the link while it is up, and again when a connection was lost before their acknowledgement."""

    def __init__(self, link: Link, max_bytes: int, max_age_s: float) -> None:
        self._link = link
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._waiting: deque[Entry] = deque()
        self._inflight: dict[int, Entry] = {}
        self.bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._inflight)

    def put(self, message: Outbound, on_safe: Callable[[], None] | None = None) -> None:
        """Add a message; it is sent at the end of this turn if the link is up."""
        entry = Entry(message, on_safe, time.monotonic())
        self._waiting.append(entry)
        self.bytes += entry.size
        if self.bytes > self._max_bytes:
            self._drop_oldest()

    def pump(self) -> None:
        """Send what may be sent: QoS 1 within the window that the broker allows, in order."""
        if not self._waiting or not self._link.connected:
            return
        window = min(_WINDOW, self._link.send_quota)
        while self._waiting and len(self._inflight) < window:
            entry = self._waiting.popleft()
            number = self._link.publish(entry.message)
            if entry.message.qos:
                self._inflight[number] = entry
            else:
                self._done(entry)

    def acknowledged(self, number: int) -> None:
        """The broker has message ``number``."""
        entry = self._inflight.pop(number, None)
        if entry is not None:
            self._done(entry)

    def link_down(self) -> None:
        """What was on its way is sent again, in its old order, before what has waited behind it."""
        self._waiting.extendleft(reversed(self._inflight.values()))
        self._inflight.clear()

    def expire(self) -> None:
        """Drop what has waited for longer than the bound."""
        oldest = time.monotonic() - self._max_age_s
        while self._waiting and self._waiting[0].put_at < oldest:
            self._forget(self._waiting.popleft())

    @property
    def oldest_s(self) -> float:
        """Age of the oldest message, in seconds."""
        first = next(iter(self._inflight.values()), None) or (self._waiting[0] if self._waiting else None)
        return time.monotonic() - first.put_at if first else 0.0

    def _drop_oldest(self) -> None:
        while self.bytes > self._max_bytes and len(self._waiting) > 1:
            self._forget(self._waiting.popleft())

    def _forget(self, entry: Entry) -> None:
        self.dropped += 1
        self._done(entry)

    def _done(self, entry: Entry) -> None:
        self.bytes -= entry.size
        if entry.on_safe:
            entry.on_safe()
