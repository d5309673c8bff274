"""Keeps what this device has seen of the repository, and what time it takes it to be.

The marks (`maas_agent.update.repository.high_water_marks`) applied to metadata that TUF's client has verified.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import ExpiredMetadataError
from tuf.api.metadata import Root, Targets  # type: ignore[attr-defined]  # tuf has no __all__

from maas_agent.update.repository import high_water_marks as rules
from maas_agent.update.repository.high_water_marks import HighWaterMark, Signed
from maas_agent.update.repository.tuf_client import TufClient, keys_of, mark_keys


class TrustedState:
    """Keeps the marks in ``store`` for the root file whose SHA-256 is ``anchor``. ``now`` is the trusted time.

    Raises ``OSError`` if the marks cannot be read; ``warn`` gets a sentence if they are damaged.
    """

    def __init__(self, store: Path, anchor: str, warn: Callable[[str], None]) -> None:
        self._store = store
        self._kept = self._marks = rules.load(store, anchor, warn)
        self.now = datetime.now(UTC)

    def time(self, root: Root) -> datetime:
        """By what time metadata expires, now that ``root`` is the newest."""
        self._marks = rules.without_rotated(self._marks, keys_of("timestamp", root, {}), root.version)
        self.now = rules.trusted_time(self.now, self._marks)
        return self.now

    def admit(self, client: TufClient, roles: dict[str, Targets]) -> None:
        """Take note of metadata that was verified.

        Raises `VerifyError` if some of it is older than what was seen before, ``ExpiredMetadataError`` if it turns out
        to have expired by the time at which the newest of it was signed.
        """
        seen = {
            role: HighWaterMark(signed.version, mark_keys(role, client.root, roles)) for role, signed in roles.items()
        }
        self._marks = rules.raised(self._marks, client.root.version, _signed(client), seen)
        self.now = rules.trusted_time(self.now, self._marks)
        for role, signed in {"root": client.root, **roles}.items():
            if signed.is_expired(self.now):
                raise ExpiredMetadataError(f"{role} is expired")

    def save(self) -> None:
        """Make it durable, if it changed; raises ``OSError``."""
        if self._marks != self._kept:
            rules.save(self._store, self._marks)
            self._kept = self._marks


def _signed(client: TufClient) -> Signed | None:
    timestamp = client.timestamp
    at = rules.signed_time(timestamp.unrecognized_fields.get("signed_at"), timestamp.expires)
    return Signed(at, keys_of("timestamp", client.root, {})) if at else None
