"""Keeps accelerators that cost workers too often in quarantine: each rests, is tried, and may come back.

Pure: the time is given, in seconds of the monotonic clock.
"""

import msgspec

DEATHS = 2
"""So many deaths or hangs within the window put an accelerator into quarantine."""
_GROWTH = 2.0
_LONGEST_S = 6 * 3600.0
_FORGET_S = 24 * 3600.0
"""An accelerator that was well for so long starts with the first interval again."""


class Rest(msgspec.Struct, frozen=True):
    """An accelerator in quarantine: until when at least, for how long, and why."""

    accelerator: str
    until: float
    interval_s: float
    reason: str


class Quarantine:
    """Remembers deaths by accelerator. ``first_s`` is the first interval; each one after it is twice as long."""

    def __init__(self, window_s: float, first_s: float) -> None:
        self._window_s, self._first_s = window_s, first_s
        self._deaths: dict[str, list[float]] = {}
        self._rests: dict[str, Rest] = {}
        self._last: dict[str, Rest] = {}

    @property
    def rests(self) -> list[Rest]:
        """Those that rest, with when and why."""
        return list(self._rests.values())

    @property
    def accelerators(self) -> set[str]:
        """Those that may not serve."""
        return set(self._rests)

    def died(self, accelerator: str, now: float) -> bool:
        """A worker has died or hung on ``accelerator``; whether that was once too often."""
        recent = [at for at in self._deaths.get(accelerator, []) if now - at < self._window_s]
        self._deaths[accelerator] = [*recent, now]
        return len(recent) + 1 >= DEATHS

    def begin(self, accelerator: str, reason: str, now: float) -> Rest:
        """Put ``accelerator`` to rest, for longer than the last time."""
        last = self._last.get(accelerator)
        grown = last is not None and now - last.until < _FORGET_S
        interval_s = min(last.interval_s * _GROWTH, _LONGEST_S) if last is not None and grown else self._first_s
        rest = Rest(accelerator, now + interval_s, interval_s, reason)
        self._rests[accelerator] = self._last[accelerator] = rest
        self._deaths.pop(accelerator, None)
        return rest

    def due(self, now: float) -> str | None:
        """An accelerator whose interval is over: it is to be tried before it serves again."""
        return next((rest.accelerator for rest in self._rests.values() if rest.until <= now), None)

    def end(self, accelerator: str) -> None:
        """It was tried and is well."""
        self._rests.pop(accelerator, None)
