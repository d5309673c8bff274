"""A paho-mqtt client as this device needs it: version, will, credentials; its socket opened elsewhere."""

from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.config import Broker
from maas_agent.errors import ConfigError
from maas_agent.hub.packets import PacketSocket
from maas_agent.hub.transport import endpoint

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
RECEIVE_MAXIMUM = 512
"""QoS 1 inputs the broker may have under way to this device (MQTT 5)."""


class Outbound(msgspec.Struct, frozen=True):
    """A message to the broker."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    """Seconds after which nobody wants it any more (MQTT 5, Message Expiry Interval)."""
    user_properties: tuple[tuple[str, str], ...] = ()
    """Names and values for whoever reads it (MQTT 5)."""


class Client(paho.Client):
    """A paho client whose socket is opened elsewhere and handed in as ``prepared``."""

    prepared: PacketSocket

    # paho has no public way to give it a socket; test_paho_takes_the_socket_it_is_given fails if that changes.
    def _create_socket(self) -> Any:
        return self.prepared


def new_client(broker: Broker, protocol: MQTTProtocolVersion, client_id: str, will: Outbound | None) -> Client:
    """A client that is ready to connect; raises `ConfigError` if the password cannot be read."""
    there = endpoint(broker)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if protocol == V5 else False,
        protocol=protocol,
        reconnect_on_failure=False,
    )
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if broker.username:
        client.username_pw_set(broker.username, _secret(broker.password_file))
    client.on_socket_register_write = lambda *_: None  # the end of the turn writes
    if protocol == V5:
        client.connect_async(there.host, there.port, broker.keepalive_s, clean_start=False, properties=_session(broker))
    else:
        client.connect_async(there.host, there.port, broker.keepalive_s)
    return client


def _session(broker: Broker) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
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
