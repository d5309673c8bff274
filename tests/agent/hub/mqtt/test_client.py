"""The paho client: its socket, its CONNECT, its secrets."""

import socket
from pathlib import Path

import pytest

from maas_agent.config import BrokerSettings
from maas_agent.errors import ConfigError
from maas_agent.hub.mqtt.client import V5, V311, new_client
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.mqtt.transport.packets import PacketSocket
from tests.agent.hub.mqtt.broker import client_on


def connect_of(broker: BrokerSettings, will: Outbound | None = None, *, is_v5: bool = True) -> bytes:
    """What a client for ``broker`` says first."""
    ours, theirs = socket.socketpair()
    with theirs:
        client = new_client(broker, V5 if is_v5 else V311, "maas-dev", will)
        client.prepared = PacketSocket(ours, 1000, has_properties=is_v5)
        client.reconnect()
        client.loop_write()
        client.prepared.flush()
        said = theirs.recv(10_000)
        ours.close()
    return said


def test_paho_takes_the_socket_it_is_given() -> None:
    """`_create_socket` is paho's own and private: if its name or meaning changes, nothing would connect."""
    ours, theirs = socket.socketpair()
    with theirs:
        client = client_on(PacketSocket(ours, 1000, has_properties=True))
        client.reconnect()
        assert client.socket() is client.prepared  # type: ignore[comparison-overlap]
        client.loop_write()
        client.prepared.flush()
        assert theirs.recv(3)[0] == 0x10  # CONNECT, and on no other socket than this
        ours.close()


@pytest.mark.parametrize("is_v5", [True, False])
def test_a_connect_names_version_client_and_session(is_v5: bool) -> None:
    said = connect_of(BrokerSettings(keepalive_s=77), is_v5=is_v5)
    assert said[2:8] == b"\x00\x04MQTT"
    assert said[8] == (5 if is_v5 else 4)
    assert said[9] & 0x02 == 0  # the session goes on: the broker keeps QoS 1 inputs for this device
    assert int.from_bytes(said[10:12]) == 77
    assert b"maas-dev" in said


def test_version_5_says_how_long_the_session_lasts_and_how_much_it_takes() -> None:
    said = connect_of(BrokerSettings(session_expiry_s=3600))
    assert b"\x11" + (3600).to_bytes(4) in said  # section 3.1.2.11.2
    assert b"\x21" + (512).to_bytes(2) in said  # section 3.1.2.11.3


def test_the_will_is_retained_and_the_brokers_to_keep() -> None:
    said = connect_of(BrokerSettings(), Outbound("maas/dev/status", b"offline", 1, True))
    assert said[9] & 0x3C == 0x2C  # retain, QoS 1, will
    assert b"maas/dev/status" in said and b"offline" in said


def test_a_password_is_read_from_its_file_without_the_line_break(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(" geheim \r\n")
    said = connect_of(BrokerSettings(username="me", password_file=str(secret)))
    assert b"\x00\x02me" in said
    assert said.endswith(b"\x00\x08 geheim ")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no-text"])
def test_a_password_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, content: bytes | None) -> None:
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broker\.password_file: .*/password"):
        new_client(BrokerSettings(username="me", password_file=str(secret)), V5, "x", None)
