"""An input, from its arrival to its answer."""

from collections.abc import Callable
from math import ceil

import msgspec

from maas_agent.hub.mqtt.answered import Input


class Job(msgspec.Struct):
    """An input on its way to an answer. ``out`` is the topic of its answer, with the id if the input's had one."""

    id: str
    payload: bytes
    content_type: str | None
    arrived: float
    arrived_at: float
    qos: int
    out: str
    response_topic: str | None
    correlation: bytes | None
    acknowledge: Callable[[], None]
    deaths: int = 0
    """Workers that died while this input was with them and may have been the reason."""
    ticket: int = 0
    """Its place in the order of arrival; see `maas_agent.hub.serving.reorder_buffer`."""
    expires_at: float | None = None
    """When nobody wants an answer any more, on the monotonic clock."""
    offset: float | None = None
    """How far the wall clock that said ``arrived`` was ahead of the machine's start, in seconds."""
    input: Input | None = None
    """What it is recognised by when it comes again after its answer."""

    def left_s(self, now: float) -> int | None:
        """Whole seconds, at least one, for which an answer is still wanted; ``None``: for ever."""
        return None if self.expires_at is None else max(1, ceil(self.expires_at - now))
