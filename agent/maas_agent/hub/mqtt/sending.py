"""Sends on one connection, within what the broker takes, and remembers what is not acknowledged."""

import time
from collections.abc import Callable

import msgspec

from maas_agent.hub.mqtt import reasons
from maas_agent.hub.mqtt.counters import Counters
from maas_agent.hub.mqtt.flow.broker_limits import BrokerLimits
from maas_agent.hub.mqtt.flow.packet_limit import PacketLimit, TooLargeError
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.transport.wire import Puback, encode_publish, packed_properties
from maas_agent.hub.system.log_limiter import LogLimiter

_RAISE = "raise the broker's limit on the size of packets or messages"
_FIRST_NUMBER = 0x100
_LAST_NUMBER = 0xFFFF


class Sending:
    """Makes packets of messages, and knows which of QoS 1 are on their way."""

    def __init__(
        self, packet_limit: PacketLimit, counters: Counters, log_limiter: LogLimiter, *, has_properties: bool
    ) -> None:
        self._packet_limit, self._counters, self._log_limiter = packet_limit, counters, log_limiter
        self._has_properties = has_properties
        self._number = _FIRST_NUMBER
        self._sizes: dict[int, int] = {}
        """Bytes of the packets that are on their way, by their identifiers."""
        self.limits = BrokerLimits()

    @property
    def is_clear(self) -> bool:
        """Whether everything is acknowledged."""
        return not self._sizes

    @property
    def largest(self) -> int:
        """Bytes of the largest packet that is on its way; 0 if none is."""
        return max(self._sizes.values(), default=0)

    def allowed(self, limits: BrokerLimits) -> None:
        """The broker has said what it takes."""
        most = self._packet_limit.within(limits.maximum_packet, time.monotonic())
        self.limits = msgspec.structs.replace(limits, maximum_packet=most)

    def publish(self, message: Outbound, write: Callable[[bytes], object]) -> tuple[int, bool]:
        """Write a message; returns its packet identifier, 0 with QoS 0, and whether the broker will acknowledge it.

        One that had to become QoS 0, because this broker takes no other, is not acknowledged. Raises `TooLargeError`.
        """
        allowed = self.limits.maximum_qos >= message.qos and (self.limits.retain or not message.retain)
        sent = message if allowed else self._reduced(message)
        number = self._next_number() if message.qos else 0
        properties = None
        if self._has_properties:
            properties = packed_properties(sent.content_type, sent.correlation, sent.expiry_s, sent.user_properties)
        packet = encode_publish(sent.topic.encode(), sent.payload, sent.qos, sent.retain, number, properties)
        if len(packet) > self.limits.maximum_packet:
            self._too_large(message, len(packet))
            raise TooLargeError(len(packet), self.limits.maximum_packet)
        write(packet)
        if number:
            self._sizes[number] = len(packet) if sent.qos else 0
        return number, bool(sent.qos)

    def acknowledged(self, packet: Puback) -> None:
        """The broker is done with a message: it has taken it, or refuses it, which coming again would not change."""
        if packet.reason >= 0x80:
            self._counters.refused += 1
            reason = reasons.puback_reason(packet.reason)
            self._log_limiter.error(("puback", packet.reason), "broker refused a message", reason=reason)
        self._packet_limit.taken(self._sizes.pop(packet.number, 0))

    def ended_by_broker(self, *, over_size: bool) -> None:
        """The broker has closed the connection, perhaps over the largest packet that it has not acknowledged.

        ``over_size``: it has said so.
        """
        most = self._packet_limit.ended(self.largest, time.monotonic(), told=over_size)
        if most is not None:
            ended = "this broker ends connections over large messages: results as large get an error instead"
            self._log_limiter.error("ends over size", ended, bytes=self.largest, most=most, mend=_RAISE)

    def _next_number(self) -> int:
        """A packet identifier that is not in use (section 2.2.1), above those that paho uses for SUBSCRIBE."""
        if len(self._sizes) > _LAST_NUMBER - _FIRST_NUMBER:
            raise ConnectionError("every packet identifier is in use: keep within send_quota")
        while True:
            self._number = self._number + 1 if self._number < _LAST_NUMBER else _FIRST_NUMBER
            if self._number not in self._sizes:
                return self._number

    def _reduced(self, message: Outbound) -> Outbound:
        """The same without what this broker has not (sections 3.2.2.3.4 and 5)."""
        limits = self.limits
        if message.retain and not limits.retain:
            self._log_limiter.error(
                "retain", "this broker keeps no messages: status, state and commands are seen live only"
            )
        if message.qos > limits.maximum_qos:
            self._log_limiter.error("qos", "this broker takes QoS 0 only: results that it loses are not sent again")
        qos, retain = min(message.qos, limits.maximum_qos), message.retain and limits.retain
        return msgspec.structs.replace(message, qos=qos, retain=retain)

    def _too_large(self, message: Outbound, size: int) -> None:
        self._counters.too_large += 1
        self._log_limiter.error(
            "too large",
            "not sent: larger than the broker takes",
            topic=message.topic,
            bytes=size,
            most=self.limits.maximum_packet,
            mend=_RAISE,
        )
