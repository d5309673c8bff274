"""Which of the known forms a payload has: by MQTT 5 content type, else by configuration, else by magic bytes."""

from typing import Literal

import msgspec

from maas_agent import codes
from maas_agent.errors import DecodeError
from maas_agent.untrusted import MALFORMED

Form = Literal["raw", "json", "image", "audio"]

_BY_CONTENT_TYPE: dict[str, Form] = {
    "application/octet-stream": "raw",
    "application/json": "json",
    "text/json": "json",
    "image/png": "image",
    "image/jpeg": "image",
    "audio/wav": "audio",
    "audio/wave": "audio",
    "audio/x-wav": "audio",
    "audio/vnd.wave": "audio",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def form_of(payload: bytes, content_type: str | None, configured: Form | None, sample_bytes: int) -> Form:
    """Tell how ``payload`` is to be read.

    ``sample_bytes`` is the size of one raw sample: bytes of exactly that size are raw even when they happen to begin
    like an image or a recording, unless the whole of them is JSON: ``[1, 2, 3.25]`` has the size of three float32.
    Raises `DecodeError` (``unsupported``) for a content type nobody reads.
    """
    if content_type:
        essence = content_type.partition(";")[0].strip().lower()
        if essence not in _BY_CONTENT_TYPE:
            raise DecodeError(codes.UNSUPPORTED, f"content type {essence!r}: send one of {', '.join(_BY_CONTENT_TYPE)}")
        return _BY_CONTENT_TYPE[essence]
    if configured is not None:
        return configured
    begins_as_json = payload[:64].lstrip()[:1] in (b"[", b"{")
    if len(payload) == sample_bytes:
        return "json" if begins_as_json and _is_json(payload) else "raw"
    if payload.startswith((_PNG, _JPEG)):
        return "image"
    if payload[:4] == b"RIFF" and payload[8:12] == b"WAVE":
        return "audio"
    return "json" if begins_as_json else "raw"


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except MALFORMED:
        return False
    return True
