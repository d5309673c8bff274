"""Reads what a broker allows from its CONNACK (MQTT 5.0 section 3.2.2.3). In 3.1.1 it says none of this."""

from typing import Any

import msgspec

from maas_agent.config import BrokerSettings


class BrokerLimits(msgspec.Struct, frozen=True):
    """Holds what one broker allows; the defaults are those of the standard."""

    receive_maximum: int = 65535
    """QoS 1 messages it takes before it has acknowledged any."""
    maximum_packet: int = 268_435_460
    """Bytes of a whole packet: the largest remaining length there is, with its header."""
    maximum_qos: int = 1
    """Of what is published; QoS 2 is not used here."""
    retain: bool = True
    wildcard_subscriptions: bool = True
    shared_subscriptions: bool = True
    keep_alive_s: int = 0
    """Server Keep Alive; 0 if the broker takes that of CONNECT."""
    session_expiry_s: int | None = None
    """How long it keeps the session, if that is not what CONNECT asked for."""

    def refuses(self, topic_filter: str) -> str | None:
        """Why a subscription would end the connection (sections 3.2.2.3.11 and 13), if it would."""
        if topic_filter.startswith("$share/") and not self.shared_subscriptions:
            return "this broker has no shared subscriptions: the inputs of groups do not reach this device"
        if ("+" in topic_filter or "#" in topic_filter) and not self.wildcard_subscriptions:
            return "this broker has no wildcard subscriptions: inputs do not reach this device"
        return None


def limits_of(properties: Any) -> BrokerLimits:
    """From paho's `Properties` of a CONNACK; ``None`` in MQTT 3.1.1."""
    usual = BrokerLimits()
    return BrokerLimits(
        receive_maximum=int(getattr(properties, "ReceiveMaximum", usual.receive_maximum)),
        maximum_packet=int(getattr(properties, "MaximumPacketSize", usual.maximum_packet)),
        maximum_qos=min(1, int(getattr(properties, "MaximumQoS", 1))),
        retain=bool(getattr(properties, "RetainAvailable", 1)),
        wildcard_subscriptions=bool(getattr(properties, "WildcardSubscriptionAvailable", 1)),
        shared_subscriptions=bool(getattr(properties, "SharedSubscriptionAvailable", 1)),
        keep_alive_s=int(getattr(properties, "ServerKeepAlive", 0)),
        session_expiry_s=getattr(properties, "SessionExpiryInterval", None),
    )


class Allowance(msgspec.Struct):
    """What a Last Will may be here: a broker refuses the connection over it, before it has said what it allows."""

    retain: bool = True
    qos: int = 1

    def learn(self, reason: int) -> bool:
        """Take what a refused connection teaches (0x9A, 0x9B); ``False`` if it is nothing of that kind."""
        if reason == 0x9A and self.retain:
            self.retain = False
        elif reason == 0x9B and self.qos:
            self.qos = 0
        else:
            return False
        return True


def shortened(broker: BrokerSettings, limits: BrokerLimits) -> int | None:
    """The session expiry that the broker keeps to, in seconds, if it is less than what was asked for."""
    granted = limits.session_expiry_s
    return granted if granted is not None and granted < broker.session_expiry_s else None
