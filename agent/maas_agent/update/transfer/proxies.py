"""Finds the proxy that the environment names for an address, as curl reads ``http_proxy`` and ``no_proxy``. Pure."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/?#\[\]]+)(?::(?P<port>\d{1,5}))?(?:[/?#].*)?\Z")


class UnusableProxyError(ValueError):
    """What the environment names is no proxy that can be used; a sentence without what is secret in it."""


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy, and the variable that names it; ``authorization`` is the header it wants, if any."""

    url: str
    variable: str
    authorization: str | None = None

    def __str__(self) -> str:
        return f"{urlsplit(self.url).netloc}, which {self.variable} names,"


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for ``url``; ``None``: ask the server itself. Raises `UnusableProxyError`."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme not in _SCHEMES:
        return None
    port = parts.port or _PORTS[parts.scheme]
    if is_exempt(parts.hostname, port, _named("no_proxy", environment)[1]):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        variable, value = _named(name, environment)
        if value:
            return parse(value, variable)
    return None


def _named(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """A variable and its value; lower case goes first, also where it is empty."""
    variable = name if name in environment else name.upper()
    return variable, environment.get(variable, "").strip()


def parse(value: str, variable: str) -> Proxy:
    """The proxy that ``value`` of ``variable`` means: a scheme, and a name and password, may be missing.

    The password ends at the last ``@``: one that is not percent-encoded, as it should be, is understood too.
    """
    scheme, found, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if found else ("http", value)
    userinfo, at, place = rest.rpartition("@")
    say = f"write {variable}=http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT"
    if scheme.startswith("socks"):
        raise UnusableProxyError(f"{variable} names a SOCKS proxy, which is not supported ({scheme}://{place}): {say}")
    if scheme not in _SCHEMES:
        raise UnusableProxyError(f"{variable} names no HTTP proxy ({scheme}://{place}): {say}")
    match = _HOST.match(place)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise UnusableProxyError(f"{variable} has no host and port ({place}): {say}")
    # curl takes 1080 where there is no port; other programs take the scheme's own, and so does this one.
    port = int(match["port"] or _PORTS[scheme])
    return Proxy(f"{scheme}://{match['host']}:{port}", variable, _basic(userinfo) if at else None)


def _basic(userinfo: str) -> str:
    """RFC 7617."""
    name, colon, password = userinfo.partition(":")
    credentials = unquote(name) + ":" + (unquote(password) if colon else "")
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names the host: itself, a domain above it, a network (``10.0.0.0/8``), ``*``."""
    return any(
        _matches(host.lower().rstrip("."), port, entry) for entry in re.split(r"[\s,]+", no_proxy.lower()) if entry
    )


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry or entry.count(":") > 1:
        return _in_network(host, entry)
    name, colon, only = entry.partition(":")
    if colon and only != str(port):
        return False
    name = name.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _in_network(host: str, entry: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
