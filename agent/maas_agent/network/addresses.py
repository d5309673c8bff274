"""Shows addresses without what is secret in them, which is in none of the logs, states and errors."""

import re

_USERINFO = re.compile(r"(?<=//)(?:[^/?#\s@:\[]*:(?!\d+[/?#])\S*|[^/?#\s]*)@|^(?!\S*//)[^\s/]*:\S*@")
"""Also of a password with a slash in it, which should have been percent-encoded, and where no scheme was written."""
_QUERY = re.compile(r"(?P<address>//[^\s?'\"]*)\?[^\s'\"]+")
HIDDEN = "…"


def shown(url: str) -> str:
    """``url`` without a name, a password, or what its query says: ``https://host/repo?…``."""
    return _QUERY.sub(rf"\g<address>?{HIDDEN}", _USERINFO.sub("", url))


def has_userinfo(url: str) -> bool:
    """Whether a name or a password stands before the host."""
    return _USERINFO.search(url) is not None


def split_query(url: str) -> tuple[str, str]:
    """The address of a folder without a slash at its end, and what is asked of every file in it (RFC 3986 3.4)."""
    if not url.lower().startswith(("http://", "https://")):
        return url.rstrip("/"), ""
    base, _, query = url.partition("?")
    return base.rstrip("/"), query
