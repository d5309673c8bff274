"""Limits the log to one line for each cause: a storm of messages must not become one of lines."""

import time
from collections.abc import Hashable
from typing import Any

from maas_agent.base.log import Log

_AGAIN_S = 3600.0
_MOST_CAUSES = 100


class LogLimiter:
    """Logs a cause when it is new, and again after an hour with how often it was seen meanwhile.

    The number of causes is bounded too: one that comes when a hundred were told within the hour is only counted.
    """

    def __init__(self, log: Log, again_s: float = _AGAIN_S) -> None:
        self._log, self._again_s = log, again_s
        self._told: dict[Hashable, float] = {}
        self._untold: dict[Hashable, int] = {}
        self._is_full = False

    def error(self, cause: Hashable, event: str, **fields: Any) -> None:
        """Something a person should look at."""
        if self._is_news(cause):
            self._log.error(event, **fields, times=self._untold.pop(cause, None))

    def warning(self, cause: Hashable, event: str, **fields: Any) -> None:
        """Something that is dealt with."""
        if self._is_news(cause):
            self._log.warning(event, **fields, times=self._untold.pop(cause, None))

    def _is_news(self, cause: Hashable) -> bool:
        now = time.monotonic()
        if now - self._told.get(cause, -self._again_s) < self._again_s:
            self._untold[cause] = self._untold.get(cause, 0) + 1
            return False
        if cause not in self._told and not self._has_room(now):
            return False
        self._told[cause] = now
        return True

    def _has_room(self, now: float) -> bool:
        if len(self._told) < _MOST_CAUSES:
            return True
        for cause in [cause for cause, told in self._told.items() if now - told >= self._again_s]:
            del self._told[cause]
            self._untold.pop(cause, None)
        has_room = len(self._told) < _MOST_CAUSES
        if not has_room and not self._is_full:
            self._log.warning("more causes for complaints than are told", told=_MOST_CAUSES)
        self._is_full = not has_room
        return has_room
