"""Describes a request, from its arrival to its answer, whichever front end took it."""

from enum import Enum
from math import ceil
from typing import Any, Protocol

import msgspec

from maas_agent.ipc import Answer


class OnFull(Enum):
    """What becomes of requests of a front end when more wait than the pipeline's queue holds."""

    WAIT = "wait"
    """They wait: the front end itself bounds how many it hands over before they are answered (MQTT's QoS 1)."""
    DROP_OLDEST = "drop_oldest"
    """The one that has waited longest makes room: what is newer says more (MQTT's QoS 0)."""
    REFUSE = "refuse"
    """The new one is refused at once: somebody waits for it, and can come again."""


class ReplyTo(Protocol):
    """Where the answer of a request goes: the front end's end of it."""

    def reply(self, request: "Request", answer: Answer) -> None:
        """Hand the answer over.

        Called once for each request, also for one that was dropped, refused or too late: then ``answer.code`` says so.
        """
        ...

    def origin(self) -> dict[str, Any]:
        """What is said of where a request came from, beside one that is kept for diagnosis; JSON-ready."""
        ...


class Request(msgspec.Struct):
    """An input on its way to an answer. ``arrived`` is its epoch time, ``arrived_at`` its monotonic one, in seconds."""

    id: str
    payload: bytes
    content_type: str | None
    arrived: float
    arrived_at: float
    reply_to: ReplyTo
    on_full: OnFull = OnFull.WAIT
    expires_at: float | None = None
    """When nobody wants an answer any more, on the monotonic clock."""
    offset: float | None = None
    """How far the wall clock that said ``arrived`` was ahead of the machine's start, in seconds."""
    principal: str | None = None
    """Who asks, where the front end knows: over MQTT that is the broker's matter."""
    deaths: int = 0
    """Workers that died while this input was with them and may have been the reason."""
    ticket: int = 0
    """Its place in the order of arrival; see `maas_agent.hub.serving.reorder_buffer`."""

    def left_s(self, now: float) -> int | None:
        """Whole seconds, at least one, for which an answer is still wanted; ``None``: for ever."""
        return None if self.expires_at is None else max(1, ceil(self.expires_at - now))


class Nobody:
    """Reads no answer: of copies that a candidate gets in the shadow."""

    def reply(self, request: Request, answer: Answer) -> None:
        """Nothing becomes of it."""

    def origin(self) -> dict[str, Any]:
        """Nothing is known."""
        return {}
