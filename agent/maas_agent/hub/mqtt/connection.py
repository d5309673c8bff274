"""Leads one connection to the broker from CONNECT to its end, and watches whether it is still alive.

Everything that is true of one connection only is in here, and goes with it: packet identifiers, what the broker allows,
what was taken and not acknowledged. The `maas_agent.hub.mqtt.link` makes one after the other.
"""

import time
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

import paho.mqtt.client as paho

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt import reasons
from maas_agent.hub.mqtt.backoff import End
from maas_agent.hub.mqtt.client import V5, Client
from maas_agent.hub.mqtt.counters import Counters
from maas_agent.hub.mqtt.flow.broker_limits import BrokerLimits, limits_of
from maas_agent.hub.mqtt.flow.in_flight import InFlightInputs
from maas_agent.hub.mqtt.flow.packet_limit import SUSPECT, PacketLimit, TooLargeError
from maas_agent.hub.mqtt.keepalive import Due, Keepalive
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.mqtt.reasons import Failure
from maas_agent.hub.mqtt.receiving import Receiving
from maas_agent.hub.mqtt.sending import Sending
from maas_agent.hub.mqtt.transport.endpoint import endpoint
from maas_agent.hub.mqtt.transport.packets import PacketSocket
from maas_agent.hub.mqtt.transport.wire import PINGREQ, Malformed, Puback, Publish, encode_disconnect
from maas_agent.hub.system.log_limiter import LogLimiter
from maas_agent.hub.system.loop import Loop, Timer

_FAREWELL_S = 2.0
"""A broker that takes nothing any more must not hold the end of this process."""
_PARTING_S = 2.0
"""A broker closes when it has read the DISCONNECT (MQTT 5.0 section 3.14.4), and with it all that came before."""
_READ_ON_S = 10.0
"""The same while the loop goes on, and the broker may have much to send before."""
_FETCH = Failure("fetching the QoS 1 inputs that were left out")
_PACKETS_A_TURN = 256
_MOST_WAITING = 1 << 20
"""Bytes that wait for a slow broker here; the rest waits where it can still be counted and dropped: in the outbox."""


class Phase(Enum):
    """How far a connection is; each one comes after those before it, and the last is its end."""

    OPENING = 0
    """CONNECT was said."""
    ACCEPTED = 1
    """The broker has accepted it, and SUBSCRIBE is on its way."""
    SUBSCRIBED = 2
    """The broker has answered the SUBSCRIBE."""
    FETCHING = 3
    """Inputs were left out: when what was sent is acknowledged, another connection fetches them."""
    PARTING = 4
    """DISCONNECT was said; what still arrives is read and not taken."""
    OVER = 5


class Owner(Protocol):
    """Who is told what happens on the connection."""

    def accepted(self, *, resumed: bool, limits: BrokerLimits) -> list[str]:
        """The broker has accepted the connection; returns the topic filters to subscribe to."""
        ...

    def subscribed(self) -> None:
        """SUBSCRIBE is on its way: whatever is published from now on comes behind it."""
        ...

    def refused(self, code: Any, properties: Any) -> None:
        """The broker has refused the connection with a reason code; the end follows."""
        ...

    def inbound(self, message: Inbound) -> None:
        """A message has arrived."""
        ...

    def acknowledged(self, number: int) -> None:
        """QoS 1 message ``number`` is done with."""
        ...

    def over(self, failure: Failure, how: End, wait_s: float | None) -> None:
        """The connection is gone; ``wait_s`` is when the next one is wanted, if that is known."""
        ...


class Connection:
    """Says CONNECT at once. However it ends but by `stop`, its owner is told that it is over."""

    def __init__(
        self,
        loop: Loop,
        broker: BrokerSettings,
        client: Client,
        packets: PacketSocket,
        owner: Owner,
        in_flight: InFlightInputs,
        counters: Counters,
        log_limiter: LogLimiter,
        packet_limit: PacketLimit,
    ) -> None:
        self._loop, self._broker, self._client, self._packets = loop, broker, client, packets
        self._owner, self._in_flight, self._counters, self._log_limiter = owner, in_flight, counters, log_limiter
        self._is_v5 = client.protocol == V5
        self._sending = Sending(packet_limit, counters, log_limiter, has_properties=self._is_v5)
        self._receiving = Receiving(in_flight, packets.write, self._fetch, counters, log_limiter)
        self._keepalive: Keepalive | None = None
        self.phase = Phase.OPENING
        self._write_wanted = False
        self._pulse: Timer | None = None
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.prepared = packets
        client.reconnect()
        loop.watch(packets, self._on_event)

    @property
    def is_accepted(self) -> bool:
        """Whether the broker has accepted it."""
        return self._keepalive is not None

    @property
    def _is_over(self) -> bool:
        return self.phase is Phase.OVER

    @property
    def _is_parting(self) -> bool:
        return self.phase is Phase.PARTING

    @property
    def failed_in_tls(self) -> bool:
        """Whether it was TLS that ended it."""
        return self._packets.failed_in_tls

    @property
    def send_quota(self) -> int:
        """QoS 1 messages the broker takes before it has acknowledged any; 0 while there is enough to send already."""
        is_closed = self.phase.value >= Phase.FETCHING.value or self._packets.waiting_bytes > _MOST_WAITING
        return 0 if is_closed else self._sending.limits.receive_maximum

    # ------------------------------------------------------------- what is sent

    def publish(self, message: Outbound) -> int:
        """Send a message at the end of this turn; returns the number that will be acknowledged, 0 with QoS 0.

        Raises `TooLargeError`.
        """
        number, is_acknowledged = self._sending.publish(message, _drop if self._is_parting else self._packets.write)
        if number and not is_acknowledged:
            self._loop.call(lambda: self._acknowledged(Puback(number)))  # nobody else will say that it is done
        return number

    def flush(self) -> None:
        """At the end of every turn: everything that was queued goes out in as few calls as possible."""
        if self._write_wanted or self._is_over:
            return
        if self._client.want_write():
            self._client.loop_write()
        waiting = self._packets.waiting_bytes
        try:
            is_empty = self._packets.flush()
        except OSError as error:
            self._on_event(True, False)  # why it closed is what it said last
            self._ended_by_broker(reasons.explain(error, self._broker))
            return
        if self._keepalive is not None and self._packets.waiting_bytes < waiting:
            self._keepalive.said(time.monotonic())
        if not is_empty and not self._is_over:
            self._write_wanted = True
            self._loop.watch(self._packets, self._on_event, write=True)

    # ------------------------------------------------------------- what arrives

    def _on_event(self, readable: bool, writable: bool) -> None:
        if self._is_over:
            return
        if readable and self._keepalive is not None:
            self._keepalive.heard(time.monotonic())
        if writable:
            self._write_wanted = False
            self._loop.watch(self._packets, self._on_event)
        more = readable and self._packets.fill()
        try:
            emptied = self._read_packets()
        except Malformed as error:
            self.leave(Failure(f"the broker sent {error}"), 0x81)
            return
        if more or not emptied:
            # Others get their turn first; select does not know of bytes that were read already.
            self._loop.call(lambda: self._on_event(more, False))

    def _read_packets(self) -> bool:
        """Handle what has arrived; ``False`` if there may be more for the next turn."""
        for _ in range(_PACKETS_A_TURN):
            packet = self._packets.next_packet()
            if packet is None:
                return True
            if isinstance(packet, Publish):
                self._received(packet)
            elif isinstance(packet, Puback):
                self._acknowledged(packet)
            elif self._packets.at_end:
                self._closed()
            elif (code := self._read_by_paho()) != paho.MQTT_ERR_SUCCESS:
                self._end(Failure(f"the broker sent what is no MQTT: {paho.error_string(code)}"))
            if self._is_over:
                return True
        return False

    def _read_by_paho(self) -> int:
        """Let paho read the packet that is its; raises `Malformed`."""
        try:
            return self._client.loop_read()
        except Exception as error:  # what its parsers stumble over: struct.error, IndexError, its own, ...
            raise Malformed(f"a packet that cannot be read: {error or type(error).__name__}") from None

    def _received(self, packet: Publish) -> None:
        if self._is_parting:
            return  # not acknowledged: it comes again
        message = self._receiving.received(packet)
        if message is not None:
            self._owner.inbound(message)

    def _acknowledged(self, packet: Puback) -> None:
        if self._is_over:
            return
        self._sending.acknowledged(packet)
        self._owner.acknowledged(packet.number)
        self._part_when_acknowledged()

    # ------------------------------------------------------------- its beginning

    def _on_connect(self, _client: Any, _data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._owner.refused(code, properties)
            return  # the broker closes, or paho does
        self._sending.allowed(limits_of(properties))
        limits = self._sending.limits
        self._keepalive = Keepalive(self._broker.keepalive_s, limits.keep_alive_s, time.monotonic())
        self.phase = Phase.ACCEPTED
        self._counters.connections += 1
        filters = self._owner.accepted(resumed=flags.session_present, limits=limits)
        self._subscribe([topic_filter for topic_filter in filters if self._may_subscribe(topic_filter)])
        self._look_after(self._keepalive)
        self._owner.subscribed()

    def _may_subscribe(self, topic_filter: str) -> bool:
        why = self._sending.limits.refuses(topic_filter)
        if why is not None:
            self._log_limiter.error(("subscription", why), why, topic=topic_filter)
        return why is None

    def _subscribe(self, filters: list[str]) -> None:
        if filters:
            self._client.user_data_set(filters)
            self._client.subscribe([(topic_filter, 1) for topic_filter in filters])
            # On its way before anything the owner says: who reads "online" may send an input at once.
            self._client.loop_write()
        else:
            self._in_flight.proven()

    def _on_subscribe(self, _client: Any, filters: Any, _number: int, codes: Any, _properties: Any) -> None:
        if self.phase is Phase.ACCEPTED:
            self.phase = Phase.SUBSCRIBED
        self._in_flight.proven()
        for topic_filter, code in zip(filters, codes, strict=False):
            if code.is_failure:
                why = reasons.named(code)
                self._log_limiter.error(
                    (topic_filter, why), "broker refused a subscription", topic=topic_filter, reason=why
                )

    # ------------------------------------------------------------- its end

    def _look_after(self, keepalive: Keepalive) -> None:
        """Ask a silent broker for a sign of life, and give up one that gives none."""
        if self._is_over:
            return
        now = time.monotonic()
        backlog = self._packets.backlog
        due = keepalive.due(now, backlog)
        if due is Due.GIVE_UP:
            self.leave(reasons.silent(self._broker, keepalive.interval_s), 0x8D)
            return
        if due is Due.ASK:
            self._packets.write(PINGREQ)
            keepalive.asked(now, backlog)
        self._pulse = self._loop.after(keepalive.next_s(now), lambda: self._look_after(keepalive))

    def _on_disconnect(self, client: Any, _data: Any, flags: Any, code: Any, properties: Any) -> None:
        if not flags.is_disconnect_packet_from_server:
            self._end(Failure(f"{endpoint(self._broker)}: {reasons.named(code)}"))
        elif code.value == reasons.TAKEN_OVER:
            self._end(reasons.disconnected(code, properties), End.TAKEN_OVER)
        else:
            is_over_size = code.value == reasons.PACKET_TOO_LARGE
            self._ended_by_broker(reasons.disconnected(code, properties), over_size=is_over_size)

    def _closed(self) -> None:
        """The broker has closed the connection."""
        if self._is_parting:
            self._end(_FETCH, wait_s=0.0)
        elif self._packets.failure is not None:
            self._ended_by_broker(reasons.explain(self._packets.failure, self._broker))
        elif self.is_accepted:
            self._ended_by_broker(reasons.closed(self._broker, accepted=True), End.CLOSED)
        else:
            self._end(reasons.closed(self._broker, accepted=False))

    def _ended_by_broker(self, failure: Failure, how: End = End.FAILED, *, over_size: bool = False) -> None:
        if Phase.SUBSCRIBED.value <= self.phase.value < Phase.OVER.value:  # else it cannot have been over a message
            self._sending.ended_by_broker(over_size=over_size)
            if self._sending.largest >= SUSPECT:
                how = End.FAILED  # no sign of a second device with this id
        self._end(failure, how)

    def leave(self, failure: Failure, code: int = 0) -> None:
        """End it from this side; ``code`` is what the broker is told in MQTT 5 (section 3.14.2.1)."""
        if not self._is_over:
            if self.is_accepted and (self._is_v5 or not code):  # 3.1.1 knows none that publishes the Last Will
                self._packets.write(encode_disconnect(code, has_properties=self._is_v5))
            self._end(failure)

    def _fetch(self) -> None:
        """Inputs were left out, and those that were taken are answered."""
        self.phase = max(self.phase, Phase.FETCHING, key=lambda phase: phase.value)
        self._loop.after(_READ_ON_S, self._part)
        self._loop.call(self._part_when_acknowledged)

    def _part_when_acknowledged(self) -> None:
        if self.phase is Phase.FETCHING and self._sending.is_clear:
            self._part()

    def _part(self) -> None:
        """Tell the broker, and read on until it closes, to come back at once for what was left out.

        A socket that is closed with something unread in it is reset, and with it goes what the broker has not read:
        acknowledgements, and their inputs would come again.
        """
        if not self._is_over and not self._is_parting:
            self.phase = Phase.PARTING
            self._packets.write(encode_disconnect(0, has_properties=self._is_v5))
            self._loop.after(_READ_ON_S, lambda: self._end(_FETCH, wait_s=0.0))

    def stop(self, farewell: Outbound | None) -> None:
        """Say farewell and disconnect cleanly, without a word to the owner."""
        if self._is_over:
            return
        if farewell and self.is_accepted:
            with suppress(TooLargeError):
                self.publish(farewell)
        self.phase = Phase.OVER
        self._forget()
        self._packets.settimeout(_FAREWELL_S)
        if self.is_accepted:
            self._packets.close_after_peer(_PARTING_S)
            self._client.disconnect()
            self._client.loop_write()
        self._packets.close()

    def _end(self, failure: Failure, how: End = End.FAILED, wait_s: float | None = None) -> None:
        if self._is_over:
            return
        self.phase = Phase.OVER
        self._forget()
        self._packets.close()
        self._owner.over(failure, how, wait_s)

    def _forget(self) -> None:
        self._receiving.stop()
        self._loop.unwatch(self._packets)
        if self._pulse is not None:
            self._pulse.cancel()


def _drop(_packet: bytes) -> None:
    """After DISCONNECT nothing may be sent (section 3.14.4)."""
