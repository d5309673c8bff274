"""What a broker's CONNACK allows, and what a refusal of the connection teaches."""

from types import SimpleNamespace

import pytest

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.flow.broker_limits import Allowance, BrokerLimits, limits_of, shortened

NO_SHARED = "this broker has no shared subscriptions: the inputs of groups do not reach this device"
NO_WILDCARD = "this broker has no wildcard subscriptions: inputs do not reach this device"


def test_a_broker_that_says_nothing_allows_what_the_standard_does() -> None:
    """MQTT 5.0 section 3.2.2.3; in 3.1.1 there are no properties at all."""
    standard = BrokerLimits(
        receive_maximum=65535,
        maximum_packet=268_435_455 + 5,
        maximum_qos=1,
        retain=True,
        wildcard_subscriptions=True,
        shared_subscriptions=True,
        keep_alive_s=0,
        session_expiry_s=None,
    )
    assert BrokerLimits() == standard
    assert limits_of(None) == standard
    assert limits_of(SimpleNamespace()) == standard


def test_each_property_of_a_connack_is_taken() -> None:
    """As paho hands them over: numbers also where they mean yes or no."""
    connack = SimpleNamespace(
        ReceiveMaximum=20,
        MaximumPacketSize=1024,
        MaximumQoS=0,
        RetainAvailable=0,
        WildcardSubscriptionAvailable=0,
        SharedSubscriptionAvailable=0,
        ServerKeepAlive=30,
        SessionExpiryInterval=600,
    )
    assert limits_of(connack) == BrokerLimits(20, 1024, 0, False, False, False, 30, 600)


def test_what_this_side_does_not_use_is_not_counted_on() -> None:
    assert limits_of(SimpleNamespace(MaximumQoS=2)).maximum_qos == 1


@pytest.mark.parametrize(
    ("limits", "topic_filter", "refusal"),
    [
        (BrokerLimits(), "$share/group/in/+", None),
        (BrokerLimits(shared_subscriptions=False), "$share/group/in", NO_SHARED),
        (BrokerLimits(shared_subscriptions=False), "in/+", None),
        (BrokerLimits(shared_subscriptions=False), "in/$share/x", None),
        (BrokerLimits(wildcard_subscriptions=False), "in/+", NO_WILDCARD),
        (BrokerLimits(wildcard_subscriptions=False), "in/#", NO_WILDCARD),
        (BrokerLimits(wildcard_subscriptions=False), "in/x", None),
        (BrokerLimits(wildcard_subscriptions=False), "$share/group/in", None),
        (BrokerLimits(wildcard_subscriptions=False, shared_subscriptions=False), "$share/group/in/+", NO_SHARED),
    ],
)
def test_a_subscription_is_refused_for_what_the_broker_lacks(
    limits: BrokerLimits, topic_filter: str, refusal: str | None
) -> None:
    assert limits.refuses(topic_filter) == refusal


def test_a_refused_will_is_made_smaller_once_for_each_reason() -> None:
    """0x9A: retain not supported; 0x9B: QoS not supported (section 3.2.2.2)."""
    allowed = Allowance()
    assert (allowed.retain, allowed.qos) == (True, 1)
    assert not allowed.learn(0x87)
    assert (allowed.retain, allowed.qos) == (True, 1)
    assert allowed.learn(0x9A)
    assert (allowed.retain, allowed.qos) == (False, 1)
    assert not allowed.learn(0x9A), "there is nothing left to leave out: trying again would never end"
    assert allowed.learn(0x9B)
    assert (allowed.retain, allowed.qos) == (False, 0)
    assert not allowed.learn(0x9B)


@pytest.mark.parametrize(("granted", "told"), [(None, None), (0, 0), (599, 599), (600, None), (601, None)])
def test_a_session_that_is_kept_for_less_than_asked_is_told(granted: int | None, told: int | None) -> None:
    assert shortened(BrokerSettings(session_expiry_s=600), BrokerLimits(session_expiry_s=granted)) == told
