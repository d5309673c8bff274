"""Bytes that text is made of, and the marks that stand before it."""

PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n" + bytes(range(0x80, 0x100))
"""Bytes that text in UTF-8 may consist of."""

MARKS = {b"\xef\xbb": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""By the first two bytes of a byte order mark, the encoding that it marks."""


def without_mark(payload: bytes) -> bytes:
    """UTF-8 without a byte order mark, of what begins with one; everything else as it is."""
    encoding = MARKS.get(payload[:2])
    try:
        return payload.decode(encoding).encode() if encoding else payload
    except UnicodeError:
        return payload
