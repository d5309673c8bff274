"""Carries out commands on ``cmd/<name>/<id>``: ``init`` → ``executing`` → ``successful`` or ``failed``.

The request and every answer are retained documents on the same topic; whoever asked clears it with an empty payload.
An end is always said: of what the end of the agent has interrupted at that end, or by the next start.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, get_args

import msgspec

from maas_agent.base.log import Log
from maas_agent.base.untrusted import MALFORMED, is_deeper
from maas_agent.hub.api.topics import Command
from maas_agent.hub.api.unfinished_commands import UnfinishedCommands
from maas_agent.hub.system.log_limiter import LogLimiter

CommandName = Literal["update", "rollback", "restart"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)
"""What this device can be told to do. Another one: see docs/extending.md."""

Finish = Callable[[str | None, dict[str, Any]], None]
"""Called once with a reason (failed) or ``None`` (successful), and fields for the document."""
Handler = Callable[[dict[str, Any], Finish], None]
Publish = Callable[[Command, dict[str, Any], Callable[[], None] | None], None]
"""Puts a command's document on its topic; what is given last is called when that is safe."""

MAX_BYTES = 1 << 16
MAX_RUNNING = 16
MAX_BURST = 64
"""Requests that are dealt with at once, and one more each second: every answer is kept by the broker."""
MAX_LEVELS = 16
"""A request is sent back, with more in it: it must not be at the edge of what can be written."""


INTERRUPTED = "interrupted by a restart of the agent: nobody knows how far it came"


class Commands:
    """Carries out commands; ``unfinished`` remembers over restarts those that have not ended."""

    def __init__(
        self, handlers: dict[str, Handler], publish: Publish, unfinished: UnfinishedCommands, log: Log
    ) -> None:
        self._handlers, self._publish, self._unfinished, self._log = handlers, publish, unfinished, log
        self._running: dict[Command, dict[str, Any]] = {}
        """Each with its request."""
        self._allowed, self._allowed_at = float(MAX_BURST), time.monotonic()
        self._log_limiter = LogLimiter(log)

    def resume(self) -> None:
        """At the start: say the end of what an earlier run has left without one, or could not hand over."""
        for command, document in self._unfinished.load().items():
            if document.get("status") == "executing":
                self._log.warning("command interrupted", name=command.name, id=command.id)
                self._end(command, document, INTERRUPTED, {})
            else:
                self._say_end(command, document)

    def interrupt(self) -> None:
        """At the end of the agent: what is under way will not be finished."""
        for command, request in self._running.items():
            self._log.warning("command interrupted", name=command.name, id=command.id)
            self._end(command, request, INTERRUPTED, {})
        self._running.clear()

    def received(self, command: Command, payload: bytes) -> None:
        """A document has arrived on a command topic; only one with the status ``init`` is a request."""
        request = _request(payload)
        if request is None or request.get("status") != "init":
            return  # our own answers come back here, and clearing is an empty payload
        if command in self._running:
            return
        if not self._may_answer():
            self._log_limiter.warning(
                "storm", "more commands than are dealt with: the rest is not answered", name=command.name
            )
            return
        if command.name not in self._handlers:
            reason = f"unknown command {command.name!r}: this device knows {', '.join(sorted(self._handlers))}"
            self._publish(command, request | {"status": "failed", "reason": reason}, None)
        elif len(self._running) >= MAX_RUNNING:
            self._publish(command, request | {"status": "failed", "reason": "too many commands at once"}, None)
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
        self._running[command] = request
        self._log.info("command", name=command.name, id=command.id)
        executing = request | {"status": "executing"}
        self._unfinished.said(command, executing)
        self._publish(command, executing, None)

        def finish(reason: str | None, fields: dict[str, Any]) -> None:
            if self._running.get(command) is request:  # else its interruption was said already
                del self._running[command]
                self._end(command, request, reason, fields)

        self._handlers[command.name](request, finish)

    def _end(self, command: Command, request: dict[str, Any], reason: str | None, fields: dict[str, Any]) -> None:
        ended = {"status": "successful"} if reason is None else {"status": "failed", "reason": reason}
        self._say_end(command, request | fields | ended)

    def _say_end(self, command: Command, document: dict[str, Any]) -> None:
        self._unfinished.said(command, document)
        self._publish(command, document, lambda: self._unfinished.is_safe(command, document))


def _request(payload: bytes) -> dict[str, Any] | None:
    if not payload or len(payload) > MAX_BYTES:
        return None
    try:
        request = msgspec.json.decode(payload, type=dict[str, Any])
    except MALFORMED:
        return None
    return None if is_deeper(request, MAX_LEVELS) else request
