"""Keeps on the disk which commands have no end yet: a SIGKILL must leave none ``executing`` for ever."""

from pathlib import Path
from typing import Any

import msgspec

from maas_agent.base.log import Log
from maas_agent.base.untrusted import MALFORMED
from maas_agent.host.files import write_durably
from maas_agent.hub.api.topics import Command, is_one

NAME = "commands.json"


class _Row(msgspec.Struct, frozen=True):
    """One command, and the document that was published last."""

    name: str
    id: str
    document: dict[str, Any]


class UnfinishedCommands:
    """Remembers what was said last of each command, until the broker or the outbox's disk has the end of it.

    Changes are written by `save`, at the end of a turn: before anything of that turn is sent.
    """

    def __init__(self, store: Path, log: Log) -> None:
        self._path, self._log = store / NAME, log
        self._last: dict[Command, dict[str, Any]] = {}
        self._is_saved = True

    def load(self) -> dict[Command, dict[str, Any]]:
        """What an earlier run has left. Raises nothing: what cannot be read is logged, and forgotten."""
        try:
            rows = msgspec.json.decode(self._path.read_bytes(), type=list[_Row])
        except FileNotFoundError:
            return {}
        except (OSError, *MALFORMED) as error:
            self._log.error("cannot read which commands were interrupted", file=self._path, reason=error)
            self._is_saved = False  # it is replaced
            return {}
        # What no command can be called is damage: on such a topic nothing can be said (MQTT 5.0 section 4.7.1).
        self._last = {command: row.document for row in rows if is_one(command := Command(row.name, row.id))}
        return dict(self._last)

    def said(self, command: Command, document: dict[str, Any]) -> None:
        """``document`` is what is published of it now."""
        self._last[command] = document
        self._is_saved = False

    def is_safe(self, command: Command, document: dict[str, Any]) -> None:
        """``document``, which was its end, cannot be lost any more; nothing if it has begun anew since."""
        if self._last.get(command) is document:
            del self._last[command]
            self._is_saved = False

    def save(self) -> None:
        """Write what has changed. On a disk that takes nothing the commands are carried out all the same."""
        if self._is_saved:
            return
        self._is_saved = True
        rows = [_Row(command.name, command.id, document) for command, document in self._last.items()]
        try:
            if rows:
                write_durably(self._path, msgspec.json.encode(rows))
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            self._log.error("cannot save which commands are under way", file=self._path, reason=error.strerror)
