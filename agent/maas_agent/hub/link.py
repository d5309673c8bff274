"""The connection to the broker: paho-mqtt driven from the hub's loop, reconnecting for ever with full jitter.

Each attempt gets a paho client of its own, so that no half-sent packet, message number or session state of an earlier
one can leak into it; what must survive a connection is in the outbox. Name look-up, TCP connect and TLS
handshake block, so they run on a thread of their own and the loop gets the finished socket.
"""

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec
import paho.mqtt.client as paho

from maas_agent.config import Broker
from maas_agent.errors import ConfigError
from maas_agent.hub.client import V5, V311, Client, Outbound, new_client
from maas_agent.hub.loop import Loop, Timer
from maas_agent.hub.packets import PacketSocket, Transport
from maas_agent.hub.redelivery import Deliveries, Delivery
from maas_agent.hub.wire import (
    Malformed,
    Puback,
    Publish,
    encode_puback,
    encode_publish,
    packed_properties,
    unpacked_properties,
)
from maas_agent.log import Log

_HANDSHAKE_S = 15.0
_GUESS_S = 5.0
"""The same while it is only guessed which MQTT version the broker speaks: amqtt is silent to a version 5 CONNECT."""
_FIRST_DELAY_S = 0.5
_PARTING_S = 2.0
"""A broker closes when it has read the DISCONNECT (MQTT 5.0 section 3.14.4), and with it all that came before."""
_STABLE_S = 30.0
_MAX_SILENCES = 5
_PACKETS_A_TURN = 256
_FIRST_NUMBER = 0x100
_PUBLISH_OVERHEAD = 1 << 16
"""Room for topic and properties beside the largest payload."""


class Inbound(msgspec.Struct, frozen=True):
    """A message from the broker. ``acknowledge`` completes QoS 1, on the connection on which it came last.

    What comes again on a resumed session before it was acknowledged is not told twice.
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


class Listener(Protocol):
    """Who is told what happens on the link."""

    def link_up(self) -> None:
        """Connected and subscribed."""
        ...

    def link_down(self) -> None:
        """The connection is gone; QoS 1 messages it had not acknowledged must be sent again."""
        ...

    def inbound(self, message: Inbound) -> None:
        """A message has arrived."""
        ...

    def acknowledged(self, number: int) -> None:
        """The broker has QoS 1 message ``number``, as returned by `Link.publish`."""
        ...


class Link:
    """Keeps the device connected. `publish` only while `connected`; everything else is told to the listener."""

    def __init__(
        self,
        loop: Loop,
        broker: Broker,
        client_id: str,
        will: Outbound | None,
        subscriptions: list[str],
        max_payload_bytes: int,
        listener: Listener,
        log: Log,
    ) -> None:
        self._loop, self._broker, self._listener, self._log = loop, broker, listener, log
        self._client_id, self._will, self._subscriptions = client_id, will, subscriptions
        self._max_packet = max_payload_bytes + _PUBLISH_OVERHEAD
        self._client: Client | None = None
        self._protocol = V311 if broker.protocol == "3.1.1" else V5
        self._delay_s = _FIRST_DELAY_S
        self._timers: list[Timer] = []
        self._stopping = False
        self._version_known = self._understood = False
        self._silences = 0
        self._write_wanted = False
        self._number = _FIRST_NUMBER
        self._deliveries = Deliveries()
        self.connected = False
        self.send_quota = 65535
        """QoS 1 messages the broker takes before it has acknowledged any (Receive Maximum)."""

    @property
    def version(self) -> str:
        """The MQTT version in use."""
        return "5" if self._is_v5 else "3.1.1"

    @property
    def _is_v5(self) -> bool:
        return self._protocol == V5

    def start(self) -> None:
        """Begin to connect; returns at once. Raises `ConfigError` if a secret or a certificate cannot be read."""
        client = new_client(self._broker, self._protocol, self._client_id, self._will)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        self._client = client
        threading.Thread(target=self._open, args=(client,), name="connect", daemon=True).start()

    def publish(self, message: Outbound) -> int:
        """Send a message at the end of this turn; returns the number `Listener.acknowledged` will name for QoS 1."""
        client = self._client
        if client is None:
            raise ConnectionError("not connected")
        number = self._next_number() if message.qos else 0
        properties = packed_properties(message.content_type, message.correlation) if self._is_v5 else None
        topic = message.topic.encode()
        client.prepared.write(encode_publish(topic, message.payload, message.qos, message.retain, number, properties))
        return number

    def _next_number(self) -> int:
        """Packet identifiers (section 2.2.1) above those that paho uses for its few SUBSCRIBE packets."""
        self._number = self._number + 1 if self._number < 0xFFFF else _FIRST_NUMBER
        return self._number

    def stop(self, farewell: Outbound | None) -> None:
        """Say farewell, disconnect cleanly and do not come back."""
        self._stopping = True
        client, was_connected = self._client, self.connected
        if client is not None and was_connected:
            if farewell:
                self.publish(farewell)
            self._loop.unwatch(client.prepared)
            client.prepared.setblocking(True)
            client.prepared.close_after_peer(_PARTING_S)
        self._client, self.connected = None, False
        self._deliveries.disconnected()
        if client is not None and was_connected:
            client.disconnect()
            client.loop_write()

    # ------------------------------------------------------------- connecting

    def _open(self, client: Client) -> None:
        """On the connecting thread: hand the loop an open transport, or the reason why there is none."""
        try:
            transport = client.open_transport()
        except Exception as error:  # anything a resolver, TLS or WebSocket handshake comes up with
            reason = _reason(error)
            self._loop.call(lambda: self._lost(client, reason))
        else:
            if self._stopping:
                transport.close()  # nobody waits for it any more
                return
            self._loop.call(lambda: self._opened(client, transport))

    def _opened(self, client: Client, transport: Transport) -> None:
        if client is not self._client or self._stopping:
            transport.close()
            return
        self._understood = False
        client.prepared = PacketSocket(transport, self._max_packet, has_properties=self._is_v5)
        client.reconnect()
        patience_s = _GUESS_S if self._broker.protocol == "auto" and not self._version_known else _HANDSHAKE_S
        self._loop.watch(client.prepared, self._on_event)
        self._timers = [
            self._loop.after(patience_s, lambda: None if self.connected else self._lost(client, "no CONNACK")),
        ]
        self._tick(client)

    def _on_connect(self, client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._log.warning("broker refused the connection", reason=reason)
            self._understood = reason.getName() != "Unsupported protocol version"
            return  # the broker closes, or paho does
        self.connected = self._version_known = True
        self._silences = 0
        self.send_quota = int(getattr(properties, "ReceiveMaximum", 65535))
        self._timers.append(self._loop.after(_STABLE_S, self._stable))
        self._log.info(
            "connected to the broker",
            url=self._broker.url,
            mqtt=self.version,
            session="resumed" if flags.session_present else "new",
        )
        self._deliveries.connected(resumed=flags.session_present)
        if self._subscriptions:
            client.subscribe([(topic, 1) for topic in self._subscriptions])
            # On its way before anything the listener says: who reads "online" may send an input at once.
            client.loop_write()
        self._listener.link_up()

    def _on_subscribe(self, _client: Any, _data: Any, _number: int, reasons: Any, _properties: Any) -> None:
        for topic, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._log.error("broker refused a subscription", topic=topic, reason=reason)

    # ------------------------------------------------------------- traffic

    def _on_event(self, readable: bool, writable: bool) -> None:
        client = self._client
        if client is None:
            return
        if writable:
            self._write_wanted = False
            self._loop.watch(client.prepared, self._on_event)
        more = readable and client.prepared.fill()
        try:
            emptied = self._read_packets(client)
        except Malformed as error:
            self._lost(client, f"the broker sent {error}")
            return
        if client is self._client and (more or not emptied):
            # Others get their turn first; select does not know of bytes that were read already.
            self._loop.call(lambda: self._on_event(more, False) if client is self._client else None)

    def _read_packets(self, client: Client) -> bool:
        """Handle what has arrived; ``False`` if there may be more for the next turn."""
        for _ in range(_PACKETS_A_TURN):
            packet = client.prepared.next_packet()
            if packet is None:
                return True
            if isinstance(packet, Publish):
                self._received(client, packet)
            elif isinstance(packet, Puback):
                self._acknowledged(packet)
            elif (code := client.loop_read()) != paho.MQTT_ERR_SUCCESS:
                self._lost(client, paho.error_string(code))
            if client is not self._client:
                return True
        return False

    def _received(self, client: Client, packet: Publish) -> None:
        try:
            topic = packet.topic.decode()
        except UnicodeDecodeError:
            raise Malformed("a topic that is not UTF-8") from None
        acknowledge = _nothing
        if packet.qos:
            delivery, is_new = self._deliveries.received(packet, client.prepared.write)
            acknowledge = partial(self._acknowledge, delivery)
            if not is_new:
                if delivery.is_done:
                    acknowledge()
                return
        properties = unpacked_properties(packet.properties) if packet.properties else None
        self._listener.inbound(
            Inbound(
                topic,
                packet.payload,
                packet.qos,
                packet.retain,
                packet.cut_bytes,
                getattr(properties, "ContentType", None),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
                acknowledge,
            )
        )

    def _acknowledged(self, packet: Puback) -> None:
        if packet.reason >= 0x80:
            self._log.error("broker refused a message", reason=f"0x{packet.reason:02x} (MQTT 5.0 section 3.4.2.1)")
        self._listener.acknowledged(packet.number)

    def _acknowledge(self, delivery: Delivery) -> None:
        write = self._deliveries.close(delivery)
        if write is not None:
            write(encode_puback(delivery.number))

    def flush(self) -> None:
        """At the end of every turn: everything paho has queued goes out in as few calls as possible."""
        client = self._client
        if client is None or client.socket() is None or self._write_wanted:
            return
        try:
            if client.want_write():
                client.loop_write()
            if client is self._client and not client.prepared.flush():
                self._write_wanted = True
                self._loop.watch(client.prepared, self._on_event, write=True)
        except OSError as error:
            self._lost(client, _reason(error))

    # ------------------------------------------------------------- staying connected

    def _tick(self, client: Client) -> None:
        """Once a second: keepalive, and the end of a connection that has gone silent."""
        if client is not self._client:
            return
        client.loop_misc()
        if client is self._client:
            self._timers.append(self._loop.after(1.0, lambda: self._tick(client)))
            self._timers = [timer for timer in self._timers if timer.action is not None]

    def _stable(self) -> None:
        # Only a connection that lasts ends the backoff: a broker that accepts and then kicks is not hammered.
        self._delay_s = _FIRST_DELAY_S

    def _on_disconnect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._lost(client, str(reason))

    def _lost(self, client: Client, reason: str) -> None:
        if client is not self._client:
            return
        was_connected, self.connected = self.connected, False
        self._client = None
        self._deliveries.disconnected()
        self._write_wanted = False
        for timer in self._timers:
            timer.cancel()
        prepared = getattr(client, "prepared", None)
        if prepared is not None:
            self._loop.unwatch(prepared)
            prepared.close()
            if not was_connected and not self._understood:
                self._fall_back()
        self._come_back(reason)
        if was_connected:
            self._listener.link_down()

    def _come_back(self, reason: str) -> None:
        """Full jitter: anywhere between now and the current bound, so that a fleet does not return in step."""
        if self._stopping:
            return
        wait_s = random.uniform(0.0, self._delay_s)
        self._log.warning("no connection to the broker", url=self._broker.url, reason=reason, retry_s=f"{wait_s:.1f}")
        self._delay_s = min(self._delay_s * 2, self._broker.reconnect_max_s)
        self._loop.after(wait_s, self._start_again)

    def _start_again(self) -> None:
        if self._stopping:
            return
        try:
            self.start()
        except ConfigError as error:
            # A secret or a certificate that is just being replaced: what served must not end over it.
            self._come_back(str(error))

    def _fall_back(self) -> None:
        """The broker ended the talk before it began: with ``auto``, speak the other version next.

        A version that has worked is given up only when it has failed for a while: a broker that is just starting
        breaks connections too.
        """
        self._silences += 1
        if self._broker.protocol == "auto" and (not self._version_known or self._silences > _MAX_SILENCES):
            self._protocol = V311 if self._protocol == V5 else V5


def _nothing() -> None:
    """QoS 0 has nothing to acknowledge."""


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
