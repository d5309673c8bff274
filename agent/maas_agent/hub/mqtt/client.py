"""Makes a paho-mqtt client as this device needs it: version, will, credentials; its socket opened elsewhere."""

from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.config import BrokerSettings
from maas_agent.host.secret_files import read_secret
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.transport.endpoint import endpoint
from maas_agent.hub.mqtt.transport.packets import PacketSocket

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
RECEIVE_MAXIMUM = 512
"""QoS 1 inputs the broker may have under way to this device (MQTT 5)."""


class Client(paho.Client):
    """A paho client whose socket is opened elsewhere and handed in as ``prepared``."""

    prepared: PacketSocket

    # paho has no public way to give it a socket; test_paho_takes_the_socket_it_is_given fails if that changes.
    def _create_socket(self) -> Any:
        return self.prepared


def new_client(
    broker: BrokerSettings,
    protocol: MQTTProtocolVersion,
    client_id: str,
    will: Outbound | None,
    *,
    leaves_nothing: bool = False,
) -> Client:
    """A client that is ready to connect; raises `ConfigError` if the password cannot be read.

    One that ``leaves_nothing`` asks for a session that ends with its connection.
    """
    there = endpoint(broker)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if protocol == V5 else leaves_nothing,
        protocol=protocol,
        reconnect_on_failure=False,
    )
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    if broker.username:
        client.username_pw_set(broker.username, _password(broker))
    client.on_socket_register_write = lambda *_: None  # the end of the turn writes
    if protocol == V5:
        session = _session(0 if leaves_nothing else broker.session_expiry_s)
        client.connect_async(there.host, there.port, broker.keepalive_s, clean_start=leaves_nothing, properties=session)
    else:
        client.connect_async(there.host, there.port, broker.keepalive_s)
    return client


def _password(broker: BrokerSettings) -> str | None:
    return None if broker.password_file is None else read_secret(broker.password_file, "broker.password_file")


def _session(expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = expiry_s
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    return properties
