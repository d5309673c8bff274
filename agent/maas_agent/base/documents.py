"""Makes the JSON documents that go out: results, errors, and the time stamps in them."""

import time
from typing import Any

import msgspec


class ErrorDetail(msgspec.Struct, frozen=True):
    """What was wrong with an input: a code of `maas_agent.base.codes` and a sentence."""

    code: str
    message: str


class DocumentHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every document on an out topic begins with.

    ``id`` is unique for each sample, so that a consumer can drop duplicates; ``time`` is when the sample
    arrived (RFC 3339, UTC).
    """

    id: str
    time: str
    device: str
    pipeline: str
    model: str | None = None
    version: str | None = None


class ResultDocument(DocumentHead, frozen=True, kw_only=True):
    """An answer. ``latency_ms`` runs from the sample's arrival on this device to its finished answer."""

    latency_ms: float
    result: Any


class ErrorDocument(DocumentHead, frozen=True, kw_only=True):
    """What a bad input gets instead of an answer."""

    error: ErrorDetail


_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def rfc3339(epoch_s: float) -> str:
    """Seconds since 1970 as ``2026-01-31T12:00:00.123Z``."""
    whole = int(epoch_s)
    return f"{_second(whole)}.{int((epoch_s - whole) * 1000):03d}Z"


_last_second = (0, "1970-01-01T00:00:00")


def _second(whole: int) -> str:
    # Thousands of results share one second: format it once.
    global _last_second
    if whole != _last_second[0]:
        _last_second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return _last_second[1]
