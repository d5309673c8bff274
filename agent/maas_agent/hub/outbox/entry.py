"""Describes a message of the outbox while it is in memory."""

from collections.abc import Callable
from enum import IntEnum

import msgspec

from maas_agent.hub.mqtt.flow.answered import InputIdentity
from maas_agent.hub.mqtt.message import Outbound

_OVERHEAD_BYTES = 256
"""What a message costs beside its payload and topic."""

OnSafe = Callable[[], None]


class Priority(IntEnum):
    """What goes first after an outage, and last when room runs out."""

    EVENT = 0
    RESULT = 1
    METRIC = 2


class Entry(msgspec.Struct, eq=False):
    """A message that the broker has not acknowledged.

    ``on_safe`` is called once, when nothing can lose it any more; ``stored`` says that it is on the disk too,
    ``replayed`` that it was held up by a lost connection. ``put_at`` is in seconds since the
    machine's start.
    """

    key: int
    priority: Priority
    message: Outbound
    on_safe: OnSafe | None
    put_at: float
    replayed: bool = False
    stored: bool = False
    answers: InputIdentity | None = None
    """The input that this is the result of, as long as the result is neither on the disk nor at the broker."""

    @property
    def size(self) -> int:
        """Bytes this takes of the bounds."""
        return len(self.message.payload) + len(self.message.topic) + _OVERHEAD_BYTES

    def safe(self) -> None:
        """Nothing can lose it any more."""
        on_safe, self.on_safe = self.on_safe, None
        if on_safe is not None:
            on_safe()
