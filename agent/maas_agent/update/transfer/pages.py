"""Tells web pages where files were asked for: a network's login page, a proxy's word, a server's page for all."""

import re

_TITLE = re.compile(rb"<title[^>]*>(.{1,400}?)</title", re.IGNORECASE | re.DOTALL)
_MOST_TITLE = 80


def is_page(beginning: bytes, content_type: str, *, of_json: bool) -> bool:
    """Whether what begins so is a page: where JSON was asked for, by its first character; else if it says so too."""
    is_markup = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    return is_markup and (of_json or "html" in content_type.lower())


def title_of(page: bytes) -> str:
    """The title, in brackets and quotes after a space; ``""`` without one. Anybody may have written it: short text."""
    found = _TITLE.search(page[: 1 << 16])
    words = " ".join(found[1].decode(errors="replace").split()) if found else ""
    readable = "".join(character for character in words if character.isprintable())[:_MOST_TITLE]
    return f' ("{readable}")' if readable else ""
