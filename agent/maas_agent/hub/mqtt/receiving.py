"""Takes what arrives on one connection, and holds it within bounds until it is acknowledged."""

from collections.abc import Callable
from functools import partial

from maas_agent.hub.mqtt.counters import Counters
from maas_agent.hub.mqtt.flow.in_flight import InFlightInputs
from maas_agent.hub.mqtt.flow.receive_window import ReceiveWindow
from maas_agent.hub.mqtt.message import Inbound
from maas_agent.hub.mqtt.transport.wire import NO_PROPERTIES, Malformed, Publish, encode_puback, unpacked_properties
from maas_agent.hub.system.log_limiter import LogLimiter

_MOST_PROPERTIES = 1 << 16
"""Bytes of properties that are looked at."""


class Receiving:
    """Makes messages of packets. ``on_window_empty`` is called when what was held is acknowledged and others were left
    out: the broker sends them again on the next connection.
    """

    def __init__(
        self,
        in_flight: InFlightInputs,
        write: Callable[[bytes], object],
        on_window_empty: Callable[[], None],
        counters: Counters,
        log_limiter: LogLimiter,
    ) -> None:
        self._in_flight, self._write, self._on_window_empty = in_flight, write, on_window_empty
        self._counters, self._log_limiter = counters, log_limiter
        self._window = ReceiveWindow()
        self._is_over = False

    def received(self, packet: Publish) -> Inbound | None:
        """The message in a packet; ``None`` if there is none to tell: it is unreadable, left out, or known already."""
        if packet.qos and not self._window.take(packet.number, len(packet.payload)):
            self._left_out()
            return None
        # As long as this, they are a payload in disguise.
        is_long = len(packet.properties) > _MOST_PROPERTIES
        try:
            topic = packet.topic.decode()
            properties = NO_PROPERTIES if is_long or not packet.properties else unpacked_properties(packet.properties)
        except (UnicodeDecodeError, Malformed) as error:
            self._unreadable(packet, error)
            return None
        acknowledge, delivery = _nothing, None
        if packet.qos:
            delivery, is_new = self._in_flight.received(packet, self._acknowledge)
            acknowledge = partial(self._in_flight.acknowledge, delivery)
            if not is_new:
                if delivery.is_done:
                    acknowledge()
                return None
        return Inbound(
            topic,
            packet.payload,
            packet.qos,
            packet.retain,
            len(packet.properties) + len(packet.payload) if is_long else packet.cut_bytes,
            properties.content_type,
            properties.response_topic,
            properties.correlation,
            acknowledge,
            properties.expiry_s,
            delivery,
            packet.dup,
        )

    def stop(self) -> None:
        """The connection is over: nothing is acknowledged on it any more."""
        self._is_over = True

    def _acknowledge(self, number: int) -> None:
        if self._is_over:
            return
        self._write(encode_puback(number))
        if self._window.release(number):
            self._on_window_empty()

    def _unreadable(self, packet: Publish, error: Exception) -> None:
        """A message that the broker should not have let through (section 1.5.4).

        Closing over it, as the standard says, would keep this device out for ever: a QoS 1 message comes back. Where
        it ends is known, so it is put aside and acknowledged.
        """
        self._counters.unreadable += 1
        topic = packet.topic[:100]
        self._log_limiter.warning("unreadable", "ignored: a message that cannot be read", topic=topic, reason=error)
        if packet.qos:
            self._acknowledge(packet.number)

    def _left_out(self) -> None:
        self._counters.left_out += 1
        self._log_limiter.warning(
            "left out",
            "more QoS 1 inputs than are held at a time: the rest is fetched when these are answered",
            mend="limit the broker's unacknowledged messages for each client (Mosquitto: max_inflight_messages)",
        )


def _nothing() -> None:
    """QoS 0 has nothing to acknowledge."""
