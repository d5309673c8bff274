"""Defines a local source: it lives in the worker and yields payloads, as they would arrive by MQTT.

To add one: a struct in `maas_agent.config` (its tag is the ``type`` in agent.toml), a module here that implements
`LocalSource`, and a line in `selection.py`. ``docs/sources.md`` walks through it.
"""

from typing import Protocol

import msgspec

from maas_agent.ipc import SourceIs


class Reading(msgspec.Struct, frozen=True):
    """One payload of a source. ``content_type`` is a MIME type, or ``None`` if the bytes speak for themselves."""

    payload: bytes
    content_type: str | None = None
    error: str | None = None
    """Set instead of a payload when something came that is too large to keep."""


class LocalSource(Protocol):
    """A source in the worker's loop: nothing here may block."""

    @property
    def condition(self) -> SourceIs:
        """How it is: the worker looks after every turn, and tells the hub what is new."""
        ...

    def start(self) -> None:
        """Begin to read."""
        ...

    def fileno(self) -> int | None:
        """The descriptor that becomes readable when `read` has something to do; ``None`` while there is none."""
        ...

    def read(self) -> list[Reading]:
        """Take what is there, at most a few dozen readings, without waiting."""
        ...

    def wake_in(self) -> float | None:
        """Seconds until `tick` wants to be called; ``None`` if never."""
        ...

    def tick(self) -> list[Reading]:
        """Do what was due: restart a program, open a device again, ask a sensor; return what that gave."""
        ...

    def done(self, reading: Reading) -> None:
        """A reading of this source has been answered, and its answer is with the hub: a file may go now, not before.

        ``reading`` is the very object that `read`, `tick` or `stop` returned; they are told in that order.
        """
        ...

    def stop(self) -> list[Reading]:
        """End, free what is held, and return the readings that were already taken in."""
        ...
