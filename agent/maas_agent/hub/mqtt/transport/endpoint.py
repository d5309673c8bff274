"""Opens the way to a broker: name look-up, TCP, TLS, WebSocket. All of it blocks; the link has a thread for it."""

import socket
import ssl
from urllib.parse import urlsplit

import msgspec

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.transport import websocket
from maas_agent.hub.mqtt.transport.packets import Transport
from maas_agent.network.tls import Identity, client_context

_STEP_S = 15.0
"""The longest wait for one answer of the peer."""
_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_DEFAULT_PATH = "/mqtt"


class NoTlsError(ConnectionError):
    """The peer hung up when it was asked for TLS."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where a broker is, taken from its URL. ``path`` is that of the WebSocket, ``None`` where there is none."""

    host: str
    port: int
    tls: bool
    path: str | None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(broker: BrokerSettings) -> Endpoint:
    """The endpoint that ``broker.url`` names."""
    parts = urlsplit(broker.url)
    path = None
    if parts.scheme.startswith("ws"):
        path = (parts.path if parts.path.strip("/") else _DEFAULT_PATH) + (f"?{parts.query}" if parts.query else "")
    host, port = parts.hostname or "127.0.0.1", parts.port or _PORTS[parts.scheme]
    return Endpoint(host, port, parts.scheme in ("mqtts", "wss"), path)


def tls_context(broker: BrokerSettings) -> ssl.SSLContext | None:
    """Whom to trust and who we are, ``None`` without TLS; raises `ConfigError` if a file cannot be used."""
    if not endpoint(broker).tls:
        return None
    identity = Identity(
        ca=broker.ca,
        certificate=broker.certificate,
        key=broker.key,
        key_passphrase_file=broker.key_passphrase_file,
    )
    context = client_context(identity, lambda field: f"broker.{field}")
    if broker.alpn:
        context.set_alpn_protocols(list(broker.alpn))
    return context


def open_transport(there: Endpoint, context: ssl.SSLContext | None, tls_name: str | None = None) -> Transport:
    """Connect; blocks. With TLS ``tls_name`` is asked for, and must be in the certificate, else the host.

    Raises ``OSError``, of which `ssl.SSLError` and `websocket.RefusedError` are kinds."""
    connection = socket.create_connection((there.host, there.port), _STEP_S)
    try:
        # Packets are gathered here already: Nagle's algorithm would only hold the last one back.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            connection = _with_tls(connection, context, tls_name or there.host)
        if there.path is not None:
            return websocket.shake_hands(connection, there.host, there.port, there.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _with_tls(connection: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except (ConnectionResetError, ssl.SSLEOFError):
        raise NoTlsError from None
