"""The operator's connection to the broker: paho on a thread of its own, messages handed over in a queue."""

import contextlib
import queue
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from maas_agent.errors import ConfigError, NoInputError, UnavailableError, UsageError
from maas_agent.host.secret_files import read_secret
from maas_agent.network.addresses import has_userinfo, shown
from maas_agent.network.tls import Identity, Peer, client_context, distrusted

_CONNECT_S = 10.0
_QUIET_S = 0.5
_SETTLED_S = 10.0
_PUBLISH_S = 10.0
_MOST_WAITING = 10_000
"""Messages that have arrived and are not looked at yet: until then the broker waits."""
_LARGEST = 2 << 20
"""Of a message, in bytes; a broker that knows MQTT 5 sends no larger one."""


class BrokerAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Which broker, and as whom: as in the agent's [broker]."""

    url: str
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_passphrase_file: Path | None = None


Message = tuple[str, bytes]
"""Topic and payload."""


class BrokerConnection:
    """Connected and subscribed to ``filters``, again after every cut. Use it as a context.

    Raises `UnavailableError` if there is no broker, or it refuses; `UsageError` for what is no address.
    """

    def __init__(self, access: BrokerAccess, filters: list[str]) -> None:
        self._access, self._filters = access, filters
        self._arrived: queue.Queue[Message] = queue.Queue(_MOST_WAITING)
        self._is_over = threading.Event()
        self._subscribed = threading.Event()
        self._refusal: str | None = None
        self._client = self._made()

    def __enter__(self) -> "BrokerConnection":
        host, port = _address(self._access.url)
        try:
            self._client.connect(host, port, keepalive=30, properties=_bounds())
        except (OSError, ValueError) as error:
            raise UnavailableError(f"{self._access.url}: {_why(error, self._access)}") from None
        self._client.loop_start()
        if not self._subscribed.wait(_CONNECT_S) or self._refusal:
            self.__exit__()
            raise UnavailableError(f"{self._access.url}: {self._refusal or 'the broker does not answer'}")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether it is connected right now."""
        return self._client.is_connected()

    def retained(self) -> Iterator[Message]:
        """What is retained, until nothing more has come for half a second."""
        ends_at = time.monotonic() + _SETTLED_S
        while time.monotonic() < ends_at:
            try:
                yield self._arrived.get(timeout=_QUIET_S)
            except queue.Empty:
                return

    def messages(self, wait_s: float) -> list[Message]:
        """What has arrived; waits so long for something."""
        try:
            found = [self._arrived.get(timeout=wait_s)]
        except queue.Empty:
            return []
        while not self._arrived.empty() and len(found) < _MOST_WAITING:
            found.append(self._arrived.get_nowait())
        return found

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish a retained message with QoS 1; returns when the broker has it. Raises `UnavailableError`."""
        sent = self._client.publish(topic, payload, 1, retain=True)
        with contextlib.suppress(RuntimeError, ValueError):  # not connected: it goes out when it is again
            sent.wait_for_publish(_PUBLISH_S)
        if not sent.is_published():
            raise UnavailableError(f"{self._access.url} does not take {topic}: is it there, and may you publish to it?")

    def _made(self) -> paho.Client:
        access = self._access
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"maas-fleet-{uuid.uuid4().hex[:12]}", protocol=MQTTProtocolVersion.MQTTv5
        )
        if access.username:
            client.username_pw_set(access.username, _secret(access.password_file))
        if access.url.startswith("mqtts:"):
            client.tls_set_context(_tls(access))
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = lambda _client, _data, message: self._take(message.topic, bytes(message.payload))
        return client

    def _take(self, topic: str, payload: bytes) -> None:
        """On paho's thread: a message is kept when there is room, and until then nothing is read from the broker."""
        while len(payload) <= _LARGEST and not self._is_over.is_set():
            with contextlib.suppress(queue.Full):
                self._arrived.put((topic, payload), timeout=_QUIET_S)
                return

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"the broker refuses the connection: {reason}"
            self._subscribed.set()
        else:
            client.subscribe([(each, 1) for each in self._filters])

    def _on_subscribe(self, _client: Any, _data: Any, _number: int, reasons: Any, _properties: Any) -> None:
        refused = [each for each, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if refused:
            self._refusal = f"the broker refuses to let you read {', '.join(refused)}"
        self._subscribed.set()


def _bounds() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = _LARGEST
    return properties


def _address(url: str) -> tuple[str, int]:
    if has_userinfo(url):
        raise UsageError(f"--broker {shown(url)}: no name and no password there: --username, --password-file")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("mqtt", "mqtts"):
        raise UsageError(f"--broker {url}: write mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    return host, port or (8883 if parts.scheme == "mqtts" else 1883)


def _secret(path: Path | None) -> str | None:
    try:
        return None if path is None else read_secret(path, "--password-file")
    except ConfigError as error:
        raise NoInputError(str(error)) from None


def _tls(access: BrokerAccess) -> ssl.SSLContext:
    files = {
        "ca": access.ca,
        "certificate": access.certificate,
        "key": access.key,
        "key_passphrase_file": access.key_passphrase_file,
    }
    identity = Identity(**{name: None if path is None else str(path) for name, path in files.items()})
    try:
        return client_context(identity, lambda field: "--" + field.replace("_", "-"))
    except ConfigError as error:
        raise NoInputError(str(error)) from None


def _why(error: Exception, access: BrokerAccess) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "strerror", None) or error)
    host, port = _address(access.url)
    peer = Peer(
        there=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        name=host,
        ca=None if access.ca is None else str(access.ca),
        ca_key="--ca",
        url_key="--broker",
    )
    return "; ".join(distrusted(error, peer))
