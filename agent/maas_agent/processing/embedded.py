"""Pictures and recordings inside text: ``data:image/png;base64,…``, and base64 alone."""

import binascii
import re
from urllib.parse import unquote_to_bytes

import msgspec

from maas_agent.base import codes
from maas_agent.errors import DecodeError
from maas_agent.processing.magic import kind_of

_BLANK = re.compile(r"\s+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_HEAD = 64
"""Characters of base64 that are enough to tell what is in it."""
_URL_SAFE = str.maketrans("-_", "+/")


class File(msgspec.Struct, frozen=True):
    """A file that was inside a text. ``content_type`` is what the text says of it, if it says anything."""

    data: bytes
    content_type: str | None = None


def is_embedded(text: str) -> bool:
    """Whether the text begins as a data URL, or as the base64 of a picture or a recording."""
    return text[:5].lower() == "data:" or _begins_as_file(text)


def file_in(text: str) -> File:
    """The file that a text holds; raises `DecodeError` if it holds none, or a damaged one."""
    text = text.strip()
    if text[:5].lower() == "data:":
        return _of_url(text)
    if not _begins_as_file(text):
        raise DecodeError(codes.BAD_JSON, "a text is neither a data URL nor the base64 of a picture or a recording")
    return File(_from_base64(text))


def _begins_as_file(text: str) -> bool:
    head = _BLANK.sub("", text[: 2 * _HEAD])[:_HEAD]
    if len(head) < 8 or not _BASE64.fullmatch(head):
        return False
    kind = kind_of(_from_base64(head.rstrip("=")[: len(head.rstrip("=")) // 4 * 4]))
    return kind is not None and kind.form is not None


def _of_url(url: str) -> File:
    """RFC 2397: ``data:[<type>][;base64],<data>``."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise DecodeError(codes.BAD_JSON, "a data URL has no comma, behind which its data are")
    said, *parameters = (part.strip() for part in head.split(";"))
    encoded = any(part.lower() == "base64" for part in parameters)
    return File(_from_base64(body) if encoded else unquote_to_bytes(body), said.lower() or None)


def _from_base64(text: str) -> bytes:
    """Both alphabets, in lines or not, padded or not."""
    plain = _BLANK.sub("", text).translate(_URL_SAFE).rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, or a character beyond ASCII
        raise DecodeError(codes.BAD_JSON, f"{len(plain)} characters are no base64, or were cut short") from None
