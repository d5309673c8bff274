"""Keeps the link to the broker: one connection after the other, for ever, with full jitter in between.

Each attempt gets a paho client and a `Connection` of its own, so that no half-sent packet, message number or state of
an earlier one can leak into it; what must survive a connection is in the outbox. Name look-up, TCP connect, TLS and
WebSocket handshakes block, so they run on a thread of their own and the loop gets the finished socket.
"""

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from maas_agent.base.log import Log
from maas_agent.config import BrokerSettings
from maas_agent.errors import ConfigError
from maas_agent.hub.mqtt import reasons
from maas_agent.hub.mqtt.backoff import Backoff, End
from maas_agent.hub.mqtt.client import V5, Client, new_client
from maas_agent.hub.mqtt.connection import Connection
from maas_agent.hub.mqtt.counters import Counters
from maas_agent.hub.mqtt.flow.broker_limits import Allowance, BrokerLimits, shortened
from maas_agent.hub.mqtt.flow.in_flight import InFlightInputs
from maas_agent.hub.mqtt.flow.packet_limit import PacketLimit
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.mqtt.outage_log import OutageLog
from maas_agent.hub.mqtt.reasons import Failure
from maas_agent.hub.mqtt.transport.endpoint import endpoint, open_transport, tls_context
from maas_agent.hub.mqtt.transport.packets import PacketSocket, Transport
from maas_agent.hub.mqtt.version_choice import VersionChoice
from maas_agent.hub.system.log_limiter import LogLimiter
from maas_agent.hub.system.loop import Loop, Timer
from maas_agent.network.addresses import shown

_OPEN_S = 45.0
"""For everything that has to come before CONNECT."""
_MOST_OPENINGS = 4
"""Attempts that may hang in a name look-up at the same time: nothing can end them."""
_HANDSHAKE_S = 15.0
_GUESS_S = 5.0
"""The same while it is only guessed which MQTT version the broker speaks: amqtt is silent to a version 5 CONNECT."""
_PUBLISH_OVERHEAD = 1 << 16
"""Room for topic and properties beside the largest payload."""


class LinkListener(Protocol):
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
    """Keeps the device connected. `publish` only while `connected`; everything else is told to the listener.

    One that ``leaves_nothing`` at the broker asks for no session that outlives its connection.
    """

    def __init__(
        self,
        loop: Loop,
        broker: BrokerSettings,
        client_id: str,
        will: Outbound | None,
        subscriptions: list[str],
        max_payload_bytes: int,
        listener: LinkListener,
        log: Log,
        *,
        leaves_nothing: bool = False,
    ) -> None:
        self._loop, self._broker, self._listener, self._log = loop, broker, listener, log
        self._client_id, self._will, self._subscriptions = client_id, will, subscriptions
        self._leaves_nothing = leaves_nothing
        self._max_packet = max_payload_bytes + _PUBLISH_OVERHEAD
        self._version = VersionChoice(broker.protocol)
        self._backoff = Backoff(broker.reconnect_max_s)
        self._allowance = Allowance()
        self._in_flight = InFlightInputs()
        self._packet_limit = PacketLimit()
        self._log_limiter = LogLimiter(log)
        self._client: Client | None = None
        """Of the attempt or the connection there is."""
        self._connection: Connection | None = None
        self._patience: Timer | None = None
        self._refusal: Failure | None = None
        self._openings = 0
        self._stopping = False
        self._outages = OutageLog(log, shown(broker.url))
        self._conflict: Failure | None = None
        self.connected = False
        self.counters = Counters()
        self.on_failed: Callable[[Failure], None] = lambda _failure: None
        """Called when an attempt has failed or a connection was lost."""

    @property
    def version(self) -> str:
        """The MQTT version in use."""
        return "5" if self._version.current == V5 else "3.1.1"

    @property
    def send_quota(self) -> int:
        """QoS 1 messages the broker takes before it has acknowledged any (Receive Maximum).

        0 while a slow connection has enough to send already: ask before each message.
        """
        return self._connection.send_quota if self._connection is not None else 0

    @property
    def trouble(self) -> str | None:
        """What a person has to mend, although it may be connected right now."""
        is_shared = self._backoff.is_shared(time.monotonic())
        return self._conflict.reason if is_shared and self._conflict is not None else None

    def start(self) -> None:
        """Begin to connect; returns at once. Raises `ConfigError` if a secret or a certificate cannot be read."""
        context = tls_context(self._broker)
        client = new_client(
            self._broker,
            self._version.current,
            self._client_id,
            self._allowed(self._will),
            leaves_nothing=self._leaves_nothing,
        )
        self._client, self._refusal = client, None
        self._version.attempt()
        late = Failure(f"{endpoint(self._broker)}: no connection within {_OPEN_S:g} s, name look-up included")
        self._patience = self._loop.after(_OPEN_S, lambda: self._given_up(client, late))
        self._openings += 1
        try:
            threading.Thread(target=self._open, args=(client, context), name="connect", daemon=True).start()
        except RuntimeError as error:  # no thread, or no memory, is left for it
            failure = Failure(f"{endpoint(self._broker)} is not connected to: {error}")
            self._loop.call(lambda: self._not_opened(client, failure))

    def publish(self, message: Outbound) -> int:
        """Send a message at the end of this turn; returns the number `LinkListener.acknowledged` will name for QoS 1.

        Raises `maas_agent.hub.mqtt.flow.packet_limit.TooLargeError` if the broker cannot take it, which is logged and
        counted: it would only end the connection again and again.
        """
        if self._connection is None or not self.connected:
            raise ConnectionError("not connected")
        return self._connection.publish(message)

    def flush(self) -> None:
        """At the end of every turn: everything that was queued goes out in as few calls as possible."""
        if self._connection is not None:
            self._connection.flush()

    def stop(self, farewell: Outbound | None) -> None:
        """Say farewell, disconnect cleanly and do not come back."""
        self._stopping = True
        connection, self._connection, self._client, self.connected = self._connection, None, None, False
        self._be_patient()
        self._in_flight.disconnected()
        if connection is not None:
            connection.stop(farewell)

    # ------------------------------------------------------------- an attempt

    def _open(self, client: Client, context: ssl.SSLContext | None) -> None:
        """On the connecting thread: hand the loop an open transport, or the reason why there is none."""
        try:
            transport = open_transport(endpoint(self._broker), context, self._broker.tls_server_name)
        except Exception as error:  # anything a resolver, TLS or WebSocket handshake comes up with
            failure = reasons.explain(error, self._broker)
            self._loop.call(lambda: self._not_opened(client, failure))
        else:
            if self._stopping:
                transport.close()  # nobody waits for it any more
                return
            self._loop.call(lambda: self._opened(client, transport))

    def _not_opened(self, client: Client, failure: Failure) -> None:
        self._openings -= 1
        self._given_up(client, failure)

    def _opened(self, client: Client, transport: Transport) -> None:
        self._openings -= 1
        if client is not self._client or self._stopping:
            transport.close()
            return
        self._be_patient()
        patience_s = _GUESS_S if self._version.is_guess else _HANDSHAKE_S
        silent = Failure(f"{endpoint(self._broker)} is silent: no CONNACK within {patience_s:g} s")
        packets = PacketSocket(transport, self._max_packet, has_properties=self._version.current == V5)
        connection = Connection(
            self._loop,
            self._broker,
            client,
            packets,
            self,
            self._in_flight,
            self.counters,
            self._log_limiter,
            self._packet_limit,
        )
        self._connection = connection
        self._patience = self._loop.after(patience_s, lambda: connection.leave(silent))

    def _given_up(self, client: Client, failure: Failure) -> None:
        """There was no connection to begin with."""
        if client is self._client:
            self._client = None
            self._be_patient()
            self._come_back(failure, self._backoff.ended(End.FAILED, time.monotonic()))

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    # ------------------------------------------------------------- the connection's owner

    def accepted(self, *, resumed: bool, limits: BrokerLimits) -> list[str]:
        """The broker has accepted the connection."""
        self._be_patient()
        self.connected = True
        self._version.accepted()
        self._in_flight.connected(resumed=resumed)
        self._backoff.accepted(time.monotonic())
        session, expiry_s = "resumed" if resumed else "new", shortened(self._broker, limits)
        self._outages.accepted(mqtt=self.version, session=session, session_expiry_s=expiry_s)
        return self._subscriptions

    def subscribed(self) -> None:
        """SUBSCRIBE is on its way."""
        self._listener.link_up()

    def refused(self, code: Any, properties: Any) -> None:
        """The broker has refused the connection."""
        self._refusal = reasons.refused(code, properties, self._broker)
        self._version.refused(speaks_other=reasons.is_other_version(code))
        if self._allowance.learn(code.value):
            self._log.warning("the Last Will is reduced to what this broker takes", reason=reasons.named(code))

    def inbound(self, message: Inbound) -> None:
        """A message has arrived."""
        self._listener.inbound(message)

    def acknowledged(self, number: int) -> None:
        """A QoS 1 message is done with."""
        self._listener.acknowledged(number)

    def over(self, failure: Failure, how: End, wait_s: float | None) -> None:
        """The connection is gone."""
        now, connection = time.monotonic(), self._connection
        was_connected, self.connected = self.connected, False
        self._connection = self._client = None
        self._in_flight.disconnected()
        self._be_patient()
        in_tls = connection is not None and connection.failed_in_tls
        self._version.ended(was_accepted=was_connected, in_tls=in_tls)
        if self._backoff.is_stable(now):
            self._outages.lasted()
        if wait_s is None:
            wait_s = self._backoff.ended(how, now)
            if how is not End.FAILED and self._backoff.is_shared(now):
                failure = self._conflict = reasons.shared_id(self._client_id, told=how is End.TAKEN_OVER)
            self._come_back(self._refusal or failure, wait_s)
        else:  # it was meant to end: nobody needs to hear of it
            self._loop.after(wait_s, self._start_again)
        if was_connected:
            self._listener.link_down()

    # ------------------------------------------------------------- the next one

    def _come_back(self, failure: Failure, wait_s: float) -> None:
        if self._stopping:
            return
        self._outages.failed(failure, wait_s, is_error=self._backoff.is_shared(time.monotonic()))
        self._loop.after(wait_s, self._start_again)
        self.on_failed(failure)

    def _start_again(self) -> None:
        if self._stopping:
            return
        failure: Failure | None = None
        if self._openings >= _MOST_OPENINGS:
            failure = Failure(f"{self._openings} attempts hang in the look-up of {endpoint(self._broker).host}")
        else:
            try:
                self.start()
            except ConfigError as error:
                # A secret or a certificate that is just being replaced: what served must not end over it.
                failure = Failure(str(error))
        if failure is not None:
            self._come_back(failure, self._backoff.ended(End.FAILED, time.monotonic()))

    def _allowed(self, will: Outbound | None) -> Outbound | None:
        if will is None:
            return None
        allowance = self._allowance
        return msgspec.structs.replace(will, qos=min(will.qos, allowance.qos), retain=will.retain and allowance.retain)
