"""Commands on ``cmd/<name>/<id>``, as thin-edge.io does them: ``init`` → ``executing`` → ``successful`` or ``failed``.

The request and every answer are retained documents on the same topic; whoever asked clears it with an empty payload.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from maas_agent.hub.once import Once
from maas_agent.hub.topics import Command
from maas_agent.log import Log
from maas_agent.untrusted import MALFORMED, is_deeper

Finish = Callable[[str | None, dict[str, Any]], None]
"""Called once with a reason (failed) or ``None`` (successful), and fields for the document."""
Handler = Callable[[dict[str, Any], Finish], None]

MAX_BYTES = 1 << 16
MAX_RUNNING = 16
MAX_BURST = 64
"""Requests that are dealt with at once, and one more each second: every answer is kept by the broker."""
MAX_LEVELS = 16
"""A request is sent back, with more in it: it must not be at the edge of what can be written."""


class Commands:
    """Carries out commands; ``publish`` puts a command's document back on its topic."""

    def __init__(
        self, handlers: dict[str, Handler], publish: Callable[[Command, dict[str, Any]], None], log: Log
    ) -> None:
        self._handlers, self._publish, self._log = handlers, publish, log
        self._running: set[Command] = set()
        self._allowed, self._allowed_at = float(MAX_BURST), time.monotonic()
        self._once = Once(log)

    def received(self, command: Command, payload: bytes) -> None:
        """A document has arrived on a command topic; only one with the status ``init`` is a request."""
        request = _request(payload)
        if request is None or request.get("status") != "init":
            return  # our own answers come back here, and clearing is an empty payload
        if command in self._running:
            return
        if not self._may_answer():
            self._once.warning(
                "storm", "more commands than are dealt with: the rest is not answered", name=command.name
            )
            return
        if command.name not in self._handlers:
            reason = f"unknown command {command.name!r}: this device knows {', '.join(sorted(self._handlers))}"
            self._publish(command, request | {"status": "failed", "reason": reason})
        elif len(self._running) >= MAX_RUNNING:
            self._publish(command, request | {"status": "failed", "reason": "too many commands at once"})
        else:
            self._execute(command, request)

    def _may_answer(self) -> bool:
        """A token bucket: a storm of requests must not become one of retained answers."""
        now = time.monotonic()
        self._allowed = min(MAX_BURST, self._allowed + now - self._allowed_at)
        self._allowed_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def _execute(self, command: Command, request: dict[str, Any]) -> None:
        self._running.add(command)
        self._log.info("command", name=command.name, id=command.id)
        self._publish(command, request | {"status": "executing"})

        def finish(reason: str | None, fields: dict[str, Any]) -> None:
            self._running.discard(command)
            ended = {"status": "successful"} if reason is None else {"status": "failed", "reason": reason}
            self._publish(command, request | fields | ended)

        self._handlers[command.name](request, finish)


def _request(payload: bytes) -> dict[str, Any] | None:
    if not payload or len(payload) > MAX_BYTES:
        return None
    try:
        request = msgspec.json.decode(payload, type=dict[str, Any])
    except MALFORMED:
        return None
    return None if is_deeper(request, MAX_LEVELS) else request
