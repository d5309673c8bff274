"""Why there is no connection, in words; with real brokers in tests/system/test_connecting.py."""

import socket
import ssl

import pytest

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.reasons import explain, puback_reason

OURS = BrokerSettings(url="mqtts://h", certificate="/own.pem", key="/own.key")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x10, "No matching subscribers (0x10)"),
        (0x87, "Not authorized (0x87)"),
        (0x97, "Quota exceeded (0x97)"),
        (0x99, "Payload format invalid (0x99)"),
        (0x8E, "a reason that the standard does not know (0x8e)"),  # not in a PUBACK
        (0xFF, "a reason that the standard does not know (0xff)"),
    ],
)
def test_a_reason_in_a_puback_has_its_name_and_number(code: int, name: str) -> None:
    assert puback_reason(code) == name


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("broker", "reason", "told"),
    [
        (
            BrokerSettings(url="mqtts://h"),
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "h:8883 wants a certificate of this device",
        ),
        (OURS, "TLSV1_ALERT_UNKNOWN_CA", "h:8883 does not accept this device's certificate /own.pem"),
        (OURS, "SSLV3_ALERT_CERTIFICATE_EXPIRED", "h:8883 does not accept this device's certificate /own.pem"),
        (OURS, "TLSV1_ALERT_PROTOCOL_VERSION", "h:8883 ended TLS (tlsv1 alert protocol version)"),
        (OURS, "WRONG_VERSION_NUMBER", "h:8883 does not speak TLS"),
        (OURS, "NO_CIPHERS_AVAILABLE", "TLS with h:8883 failed: no ciphers available"),
    ],
)
def test_what_ends_tls_is_told_as_what_it_is(broker: BrokerSettings, reason: str, told: str) -> None:
    assert explain(alert(reason), broker).reason.startswith(told)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError(), "h:1883 does not answer"),
        (OSError(113, "No route to host"), "h:1883: No route to host"),
        (UnicodeError("label too long"), "h:1883: label too long"),
        (ValueError(), "h:1883: ValueError"),
        (socket.gaierror(-2, "Name or service not known"), "the name h cannot be looked up: Name or service not known"),
    ],
)
def test_everything_has_some_words_and_says_where(error: Exception, told: str) -> None:
    assert explain(error, BrokerSettings(url="mqtt://h")).reason == told
