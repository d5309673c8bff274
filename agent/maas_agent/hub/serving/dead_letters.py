"""Keeps inputs that ended two workers, for whoever wants to know why, in bounded number and size."""

from pathlib import Path

import msgspec

from maas_agent.base.documents import rfc3339
from maas_agent.base.log import Log
from maas_agent.host.files import write_durably
from maas_agent.hub.serving.request import Request

MOST_FILES = 16
"""So many inputs are kept for each pipeline; the oldest go first."""
MOST_BYTES = 16 << 20
"""And so many bytes of them."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an input that was set aside; beside it, ``.bin`` is the input itself."""

    id: str
    arrived: str
    content_type: str | None
    bytes: int
    version: str
    digest: str
    setup: str
    how: str


class DeadLetters:
    """Keeps the folder ``aside/<pipeline>`` of the store."""

    def __init__(self, store: Path, pipeline: str, log: Log) -> None:
        self._folder = store / "aside" / pipeline
        self._log = log

    def keep(self, request: Request, version: str, digest: str, setup: str, how: str) -> None:
        """Keep an input and what is known of it; a disk that has no room for it is a warning, no more."""
        note = DeadLetter(
            id=request.id,
            arrived=rfc3339(request.arrived),
            content_type=request.content_type,
            bytes=len(request.payload),
            version=version,
            digest=digest,
            setup=setup,
            how=how,
        )
        who = {} if request.principal is None else {"principal": request.principal}
        known = msgspec.to_builtins(note) | request.reply_to.origin() | who
        stem = f"{int(request.arrived * 1000):015d}-{request.ticket % 1000:03d}"
        try:
            self._make_room(len(request.payload))
            if len(request.payload) <= MOST_BYTES:
                write_durably(self._folder / f"{stem}.bin", request.payload, 0o600)
            content = msgspec.json.format(msgspec.json.encode(known)) + b"\n"
            write_durably(self._folder / f"{stem}.json", content, 0o600)
        except OSError as error:
            self._log.warning("cannot keep an input that was given up", id=request.id, reason=error.strerror)

    def _make_room(self, size: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        notes = sorted(self._folder.glob("*.json"))
        sizes = {path: path.stat().st_size for path in self._folder.glob("*.bin")}
        while notes and (len(notes) >= MOST_FILES or sum(sizes.values()) + size > MOST_BYTES):
            oldest = notes.pop(0)
            payload = oldest.with_suffix(".bin")
            sizes.pop(payload, None)
            payload.unlink(missing_ok=True)
            oldest.unlink()
