"""Which of the known forms a payload has: by MQTT 5 content type, else by configuration, else by magic bytes."""

from typing import Literal

import msgspec

from maas_agent.base import codes
from maas_agent.base.untrusted import MALFORMED
from maas_agent.errors import DecodeError
from maas_agent.processing.magic import is_certain, kind_of
from maas_agent.processing.marks import MARKS, PRINTABLE, without_mark

Form = Literal["raw", "json", "image", "audio"]

_BY_CONTENT_TYPE: dict[str, Form] = {
    "application/octet-stream": "raw",
    "application/json": "json",
    "text/json": "json",
    "image/png": "image",
    "image/jpeg": "image",
    "image/jpg": "image",
    "image/bmp": "image",
    "image/x-ms-bmp": "image",
    "image/gif": "image",
    "image/webp": "image",
    "image/tiff": "image",
    "audio/wav": "audio",
    "audio/wave": "audio",
    "audio/x-wav": "audio",
    "audio/vnd.wave": "audio",
}


def form_of(payload: bytes, content_type: str | None, configured: Form | None, sample_bytes: int) -> Form:
    """Tell how ``payload`` is to be read.

    ``sample_bytes`` is the size of one raw sample: bytes of exactly that size are raw even when they happen to begin
    like an image or a recording, unless they are one beyond doubt, or the whole of them is JSON: ``[1, 2, 3.25]`` has
    the size of three float32.
    Raw is also what nothing else is known of; whether that is text is another question (`maas_agent.processing.text`).
    Raises `DecodeError` (``unsupported``) for a content type nobody reads.
    """
    if content_type:
        return form_of_type(content_type)
    if configured is not None:
        return configured
    begins_as_json, kind = _begins_as_json(payload), kind_of(payload)
    exactly_one = len(payload) == sample_bytes
    if kind is not None and kind.reader and kind.form is not None and (not exactly_one or is_certain(kind, payload)):
        return kind.form
    if exactly_one:
        return "json" if begins_as_json and _is_json(payload) else "raw"
    if begins_as_json and len(payload) % sample_bytes == 0:  # several raw samples may begin so
        return "json" if _is_printable(payload) or _is_json(payload) else "raw"
    return "json" if begins_as_json else "raw"


def form_of_type(content_type: str) -> Form:
    """The form that a MIME type names; raises `DecodeError` (``unsupported``) for one that nobody reads."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence not in _BY_CONTENT_TYPE:
        raise DecodeError(codes.UNSUPPORTED, f"content type {essence!r}: send one of {', '.join(_BY_CONTENT_TYPE)}")
    return _BY_CONTENT_TYPE[essence]


def _begins_as_json(payload: bytes) -> bool:
    head = without_mark(payload) if payload[:2] in MARKS else payload[:64]
    return head.lstrip()[:1] in (b"[", b"{")


def _is_printable(payload: bytes) -> bool:
    return not payload.translate(None, PRINTABLE)


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(without_mark(payload))
    except MALFORMED:
        return False
    return True
