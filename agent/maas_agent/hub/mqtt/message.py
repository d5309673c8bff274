"""Describes messages to and from the broker, whatever connection they take."""

from collections.abc import Callable

import msgspec

from maas_agent.hub.mqtt.flow.in_flight import InFlightInput


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


class Inbound(msgspec.Struct, frozen=True):
    """A message from the broker. ``acknowledge`` completes QoS 1, on the connection on which it came last.

    What comes again on a resumed session before it was acknowledged is not told twice; afterwards it is, with ``dup``.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    cut_bytes: int
    """Size of the packet if it was too large and its payload was discarded, else 0."""
    content_type: str | None
    response_topic: str | None
    correlation: bytes | None
    acknowledge: Callable[[], None]
    expiry_s: int | None = None
    """Seconds after which nobody wants an answer any more (Message Expiry Interval)."""
    delivery: InFlightInput | None = None
    """Of QoS 1: what tells it from others."""
    dup: bool = False
    """The broker may have sent it before."""
