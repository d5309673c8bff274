"""Writes one line an event to standard error: ``event key=value ...``, with a journald priority under systemd.

The priority prefix ``<N>`` is that of sd-daemon(3); journald strips it and files the line under it.
"""

import os
import sys
import time
from typing import Any

from maas_agent.base.terminal import printable

# Codecs are files that Python reads when they are first used: that must not be where no descriptor is left.
"".encode("unicode_escape")

_LONGEST = 4000
"""Characters of an event, and of a value, as they are written. journald cuts a line at 48 KiB (LineMax=), and takes the
rest for an entry of its own, with the priority that it begins with: one that nobody here has logged."""
_LONGEST_LINE = 10_000
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Log:
    """Writes events of one process; ``component`` says which (hub, worker, puller)."""

    def __init__(self, component: str, *, debug: bool = False) -> None:
        self._component = component
        self._debug = debug
        self._journald = "JOURNAL_STREAM" in os.environ or "NOTIFY_SOCKET" in os.environ

    def debug(self, event: str, **fields: Any) -> None:
        """For a developer; shown with ``--verbose`` only."""
        if self._debug:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something a person may want to know happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something went wrong and is dealt with."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something went wrong and a person should look."""
        self._write("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """The process ends over this."""
        self._write("critical", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        head = f"<{_PRIORITY[level]}>" if self._journald else time.strftime("%H:%M:%S ") + f"{level:<7} "
        details = "".join(f" {key}={_quoted(value)}" for key, value in fields.items() if value is not None)
        try:
            # An event may be a sentence with a reason of a bundle, a broker or a server in it.
            line = _cut(f"{self._component}: {_cut(printable(event[:_LONGEST]), _LONGEST)}{details}", _LONGEST_LINE)
            sys.stderr.write(f"{head}{line}\n")
            sys.stderr.flush()
        except (OSError, AttributeError):
            pass  # a full log, or none at all (then stderr is None), must not stop the device


class SilentLog(Log):
    """Says nothing: for whoever tells it otherwise, or is too many."""

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        pass


def _quoted(value: Any) -> str:
    # A value never breaks the line: control characters become escapes.
    text = str(value)[: _LONGEST + 1]
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return _cut(text, _LONGEST)
    return '"' + _cut(text.encode("unicode_escape").decode("ascii").replace('"', '\\"'), _LONGEST) + '"'


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
