"""A paho-mqtt client as this device needs it: version, will, credentials, TLS; its socket opened elsewhere."""

import socket
import ssl
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.config import Broker
from maas_agent.errors import ConfigError
from maas_agent.hub.packets import PacketSocket, Transport

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_CONNECT_S = 15.0
_RECEIVE_MAXIMUM = 512


class Outbound(msgspec.Struct, frozen=True):
    """A message to the broker."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None


class Client(paho.Client):
    """A paho client whose socket is opened elsewhere and handed in as ``prepared``."""

    prepared: PacketSocket

    def open_transport(self) -> Transport:
        """Resolve, connect, shake hands; blocks."""
        transport = super()._create_socket()
        if isinstance(transport, socket.socket):
            # Packets are gathered here already: Nagle's algorithm would only hold the last one back.
            transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cast(Transport, transport)

    # paho has no public way to give it a socket; test_paho_takes_the_socket_it_is_given fails if that changes.
    def _create_socket(self) -> Any:
        return self.prepared


def new_client(broker: Broker, protocol: MQTTProtocolVersion, client_id: str, will: Outbound | None) -> Client:
    """A client that is ready to connect; raises `ConfigError` if a secret or a certificate cannot be read."""
    url = urlsplit(broker.url)
    tls = url.scheme == "mqtts"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if protocol == V5 else False,
        protocol=protocol,
        reconnect_on_failure=False,
    )
    client.connect_timeout = _CONNECT_S
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if broker.username:
        client.username_pw_set(broker.username, _secret(broker.password_file))
    if tls:
        client.tls_set_context(_tls_context(broker))
    client.on_socket_register_write = lambda *_: None  # the end of the turn writes
    host, port = url.hostname or "127.0.0.1", url.port or (8883 if tls else 1883)
    if protocol == V5:
        client.connect_async(host, port, broker.keepalive_s, clean_start=False, properties=_session(broker))
    else:
        client.connect_async(host, port, broker.keepalive_s)
    return client


def _session(broker: Broker) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s
    properties.ReceiveMaximum = _RECEIVE_MAXIMUM
    return properties


def _secret(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"broker.password_file: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"broker.password_file: {path} is not UTF-8 text") from None


def _tls_context(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca)
        if broker.certificate and broker.key:
            context.load_cert_chain(broker.certificate, broker.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"broker: ca, certificate or key cannot be used: {error.strerror or error}") from None
    return context
