"""Says to a person why there is no connection: what happened, where, and what to type or change."""

import socket
import ssl
from typing import Any

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.transport import websocket
from maas_agent.hub.mqtt.transport.endpoint import Endpoint, NoTlsError, endpoint
from maas_agent.network.tls import Peer, distrusted

TAKEN_OVER = 0x8E
PACKET_TOO_LARGE = 0x95
_NO_LOGIN = {0x86, 0x87}
_OVER_OUR_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED", "DECRYPT_ERROR")
"""Alerts with which a broker tells that it misses a certificate of this device, or does not like it."""
_OTHER_PORT = "broker.url: another port (8883 is usual), or mqtt:// instead of mqtts:// if the broker has no TLS"
_CLIENT_ID = "the client id is broker.client_id, or else broker.topic_root and device.id"
_UNSUPPORTED_VERSION = 0x84


class Failure(msgspec.Struct, frozen=True):
    """Says in ``reason`` what happened and where, ``mend`` what to type or change, if that is known."""

    reason: str
    mend: str | None = None


def named(code: Any) -> str:
    """A reason code by its name and number (MQTT 5.0 section 2.4), such as ``Not authorized (0x87)``."""
    return f"{code} (0x{code.value:02x})"


def puback_reason(code: int) -> str:
    """The same for the bare number in a PUBACK (section 3.4.2.1)."""
    try:
        return named(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except (AssertionError, KeyError, ValueError):
        return f"a reason that the standard does not know (0x{code:02x})"


def refused(code: Any, properties: Any, broker: BrokerSettings) -> Failure:
    """The broker answered CONNECT with a reason code."""
    reason = f"the broker refused the connection: {_told(code, properties)}"
    if code.value in _NO_LOGIN:
        user = f"as {broker.username!r}" if broker.username else "without a username"
        mend = "broker.username and what is in broker.password_file must be what the broker knows"
        return Failure(f"{reason}: this device asked {user}", mend)
    if code.value == 0x85:
        return Failure(reason, f"{_CLIENT_ID}: choose another")
    return Failure(reason)


def is_other_version(code: Any) -> bool:
    """Whether a refusal is over the MQTT version."""
    return bool(code.value == _UNSUPPORTED_VERSION)


def disconnected(code: Any, properties: Any) -> Failure:
    """The broker ended the connection with a DISCONNECT."""
    return Failure(f"the broker ended the connection: {_told(code, properties)}")


def closed(broker: BrokerSettings, *, accepted: bool) -> Failure:
    """The broker closed the connection without a word."""
    there = endpoint(broker)
    if accepted:
        return Failure(f"{there} closed the connection")
    return Failure(f"{there} closed the connection before it answered: perhaps it does not speak MQTT there")


def silent(broker: BrokerSettings, keepalive_s: float) -> Failure:
    """A half-open connection: nothing comes, and nobody says that it is over."""
    return Failure(
        f"{endpoint(broker)} has gone silent: no sign of life for 1.25 times the keepalive of {keepalive_s:g} s"
    )


def shared_id(client_id: str, *, told: bool) -> Failure:
    """Another client uses this one's client id: so the broker has ``told``, or so it seems."""
    reason = f"another client uses the client id {client_id}: the broker keeps only one of them connected"
    if not told:
        reason = f"accepted and closed soon after, several times in a row: most likely {reason}"
    return Failure(reason, f"stop the other one, or give one of the devices another device.id: {_CLIENT_ID}")


def explain(error: BaseException, broker: BrokerSettings) -> Failure:
    """What an attempt to connect, or a connection, failed with."""
    there = endpoint(broker)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, broker, there)
    if isinstance(error, NoTlsError):
        return Failure(f"{there} does not speak TLS: it hung up", _OTHER_PORT)
    if isinstance(error, ssl.SSLError):
        return _tls(error, broker, there)
    if isinstance(error, socket.gaierror):
        return Failure(f"the name {there.host} cannot be looked up: {error.strerror}", f"getent hosts {there.host}")
    if isinstance(error, websocket.RefusedError):
        return Failure(
            f"no WebSocket at {there}{(there.path or '').partition('?')[0]}: {error}",
            "broker.url names host, port and path",
        )
    if isinstance(error, TimeoutError):
        return Failure(f"{there} does not answer", f"is a firewall in between? nc -vz {there.host} {there.port}")
    if isinstance(error, ConnectionRefusedError):
        return Failure(f"nobody listens on {there}", "start the broker, or mend broker.url")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Failure(f"{there}: {text}")


def _certificate(error: ssl.SSLCertVerificationError, broker: BrokerSettings, there: Endpoint) -> Failure:
    """The broker's certificate is not one to trust."""
    name = broker.tls_server_name
    peer = Peer(
        there=str(there),
        name=name or there.host,
        ca=broker.ca,
        ca_key="broker.ca",
        url_key="broker.tls_server_name" if name else "broker.url",
        options=f" -servername {name}" if name else "",
    )
    return Failure(*distrusted(error, peer))


def _tls(error: ssl.SSLError, broker: BrokerSettings, there: Endpoint) -> Failure:
    """TLS failed otherwise; an alert is what the broker says of this device's certificate (RFC 8446 section 6.2)."""
    what = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return Failure(f"{there} does not speak TLS ({what})", _OTHER_PORT)
    if "NO_APPLICATION_PROTOCOL" in (error.reason or ""):
        offered = f"none of broker.alpn = {list(broker.alpn)}" if broker.alpn else "only connections with ALPN"
        return Failure(f"{there} takes {offered} ({what})", "set broker.alpn to what the broker's manual says")
    if "ALERT" not in (error.reason or ""):
        return Failure(f"TLS with {there} failed: {what}")
    is_over_ours = any(word in error.reason for word in _OVER_OUR_CERTIFICATE)
    if is_over_ours and broker.certificate is None:
        reason = f"{there} wants a certificate of this device ({what})"
        return Failure(reason, "set broker.certificate and broker.key")
    if is_over_ours:
        reason = f"{there} does not accept this device's certificate {broker.certificate} ({what})"
        return Failure(reason, f"openssl x509 -in {broker.certificate} -noout -subject -issuer -dates")
    return Failure(f"{there} ended TLS ({what})")


def _told(code: Any, properties: Any) -> str:
    """A reason code, with what else the broker may say (sections 3.2.2.3.9 and 16)."""
    text = getattr(properties, "ReasonString", None)
    moved = getattr(properties, "ServerReference", None)
    return named(code) + (f": {text}" if text else "") + (f", use {moved}" if moved else "")
