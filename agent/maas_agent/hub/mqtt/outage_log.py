"""Logs what becomes of connections: each cause once in full, and that it goes on less and less often."""

from typing import Any

from maas_agent.base.log import Log
from maas_agent.hub.mqtt.reasons import Failure


class OutageLog:
    """Counts since the last connection that lasted; the first, the second, the fourth, the eighth ... is told."""

    def __init__(self, log: Log, url: str) -> None:
        self._log, self._url = log, url
        self._failures = self._acceptances = 0
        self._told = set[str]()

    def lasted(self) -> None:
        """There was a connection that one may count on: what comes now is news again."""
        self._failures = self._acceptances = 0
        self._told.clear()

    def accepted(self, **details: Any) -> None:
        """The broker has accepted a connection."""
        self._acceptances += 1
        if _is_told(self._acceptances):
            self._log.info("connected to the broker", url=self._url, **details)

    def failed(self, failure: Failure, wait_s: float, *, is_error: bool) -> None:
        """There is none, and the next attempt comes in ``wait_s``; ``is_error``: it will not mend itself."""
        self._failures += 1
        retry = f"{wait_s:.1f}"
        if failure.reason not in self._told:
            self._told.add(failure.reason)
            tell = self._log.error if is_error else self._log.warning
            url, reason, mend = self._url, failure.reason, failure.mend
            tell("no connection to the broker", url=url, reason=reason, mend=mend, retry_s=retry)
        elif _is_told(self._failures):
            self._log.warning("still no connection to the broker", failures=self._failures, retry_s=retry)


def _is_told(times: int) -> bool:
    return times & (times - 1) == 0
