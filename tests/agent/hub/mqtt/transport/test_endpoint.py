"""The way to a broker: where it is, whom to trust; TLS and WebSockets with real brokers are in tests/system."""

import pytest

from maas_agent.config import BrokerSettings
from maas_agent.hub.mqtt.transport.endpoint import Endpoint, endpoint, tls_context


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://h", Endpoint("h", 1883, False, None)),
        ("mqtts://h", Endpoint("h", 8883, True, None)),
        ("mqtt://h:77", Endpoint("h", 77, False, None)),
        ("mqtts://h:77/", Endpoint("h", 77, True, None)),
        ("mqtt://h:", Endpoint("h", 1883, False, None)),
        ("mqtt://[::1]:77", Endpoint("::1", 77, False, None)),
        ("ws://h", Endpoint("h", 80, False, "/mqtt")),
        ("ws://h:9001/", Endpoint("h", 9001, False, "/mqtt")),
        ("wss://h", Endpoint("h", 443, True, "/mqtt")),
        ("wss://h:77/a/b", Endpoint("h", 77, True, "/a/b")),
        ("wss://h/mqtt?token=1", Endpoint("h", 443, True, "/mqtt?token=1")),
    ],
)
def test_host_port_and_path_are_those_of_the_url_or_of_the_scheme(url: str, expected: Endpoint) -> None:
    assert endpoint(BrokerSettings(url=url)) == expected


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(endpoint(BrokerSettings(url="mqtt://[::1]:77"))) == "[::1]:77"


def test_without_tls_nobody_has_to_be_trusted() -> None:
    assert tls_context(BrokerSettings(url="ws://127.0.0.1", ca="/none")) is None
