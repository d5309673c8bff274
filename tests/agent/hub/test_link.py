"""The connection to the broker; with a real one it is tested in tests/system."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maas_agent.config import Broker
from maas_agent.errors import ConfigError
from maas_agent.hub import link as link_module
from maas_agent.hub.client import Outbound
from maas_agent.hub.link import Inbound, Link
from maas_agent.hub.loop import Loop
from maas_agent.hub.wire import encode_puback, encode_publish
from maas_agent.log import Log
from tests.agent.hub.broker import CONNACK, Connection, OnData, ScriptedBroker


class Device:
    """A link in a loop, and everything it has told. ``stop_when`` is looked at after every turn."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.inbounds: list[Inbound] = []
        self.numbers: list[int] = []
        self.ups = self.downs = 0
        self.reasons: list[str] = []
        self.birth: Outbound | None = None
        self.link: Link

    def connect(self, broker: Broker, *subscriptions: str) -> None:
        device = self

        class Reasons(Log):
            def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
                if "reason" in fields:
                    device.reasons.append(str(fields["reason"]))

        self.link = Link(self.loop, broker, "maas-dev", None, list(subscriptions), 1000, self, Reasons("test"))
        self.loop.at_turn_end(self.link.flush)
        self.link.start()

    def run_until(self, condition: Callable[[], object]) -> None:
        timer = self.loop.after(20, lambda: pytest.fail(f"waited in vain; reasons: {self.reasons}"))
        self.loop.at_turn_end(stop := lambda: self.loop.stop() if condition() else None)
        self.loop.run()
        self.loop._turn_end.remove(stop)
        timer.cancel()

    def link_up(self) -> None:
        self.ups += 1
        if self.birth is not None:
            self.link.publish(self.birth)

    def link_down(self) -> None:
        self.downs += 1

    def inbound(self, message: Inbound) -> None:
        self.inbounds.append(message)

    def acknowledged(self, number: int) -> None:
        self.numbers.append(number)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_FIRST_DELAY_S", 0.01)


@pytest.fixture
def device(loop: Loop) -> Iterator[Device]:
    device = Device(loop)
    yield device
    device.link.stop(None)


@pytest.fixture
def broker(loop: Loop) -> Iterator[Callable[[OnData], ScriptedBroker]]:
    made: list[ScriptedBroker] = []

    def start(script: OnData) -> ScriptedBroker:
        made.append(ScriptedBroker(loop, script))
        return made[-1]

    yield start
    for each in made:
        each.close()


Start = Callable[[OnData], ScriptedBroker]


def accepting(connection: Connection, data: bytes) -> None:
    """A broker that says CONNACK and nothing else."""
    if data[0] == 0x10:
        connection.send(CONNACK[connection.level])


def settings(broker: ScriptedBroker, **options: Any) -> Broker:
    return Broker(url=broker.url, **({"reconnect_max_s": 0.02} | options))


def test_a_broker_that_hangs_up_on_one_version_is_asked_with_the_other(device: Device, broker: Start) -> None:
    def script(connection: Connection, _data: bytes) -> None:
        if connection.level == 5:
            connection.close()
        else:
            connection.send(CONNACK[4])

    peer = broker(script)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    assert [connection.level for connection in peer.connections] == [5, 4]
    assert device.link.version == "3.1.1"


def test_who_reads_that_a_device_is_there_can_send_it_an_input(device: Device, broker: Start) -> None:
    """A broker handles packets in their order: SUBSCRIBE has to come before the birth message."""
    peer = broker(accepting)
    device.birth = Outbound("dev/status", b"online", 0, True)
    device.connect(settings(peer), "dev/in/#")
    device.run_until(lambda: peer.connections and b"online" in peer.connections[0].received)
    received = peer.connections[0].received
    assert 0 < received.find(b"dev/in/#") < received.find(b"online")


@pytest.mark.parametrize(("protocol", "level"), [("5", 5), ("3.1.1", 4)])
def test_a_configured_version_is_the_only_one_spoken(device: Device, broker: Start, protocol: str, level: int) -> None:
    peer = broker(lambda connection, _: connection.close())
    device.connect(settings(peer, protocol=protocol))
    device.run_until(lambda: len(peer.connections) >= 4)
    assert {connection.level for connection in peer.connections[:3]} == {level}


def test_a_message_is_told_with_its_properties_and_acknowledged_when_asked(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    (connection,) = peer.connections
    properties = b"\x03\x00\x04text" + b"\x08\x00\x02re" + b"\x09\x00\x01\x07"
    packed = bytes([len(properties)]) + properties
    connection.send(encode_publish(b"in/1", b"payload", 1, True, 7, packed))
    device.run_until(lambda: device.inbounds)
    (message,) = device.inbounds
    assert (message.topic, message.payload, message.qos, message.retain) == ("in/1", b"payload", 1, True)
    assert (message.content_type, message.response_topic, message.correlation) == ("text", "re", b"\x07")
    before = len(connection.received)
    device.loop.call(message.acknowledge)
    device.run_until(lambda: len(connection.received) > before)
    assert connection.received[before:] == encode_puback(7)


def test_a_published_message_is_acknowledged_by_its_number(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    numbers = [device.link.publish(Outbound("out", b"x", 1)) for _ in range(3)]
    assert device.link.publish(Outbound("out", b"x", 0)) == 0
    assert len(set(numbers)) == 3
    for number in reversed(numbers):
        peer.connections[0].send(encode_puback(number))
    device.run_until(lambda: len(device.numbers) == 3)
    assert device.numbers == numbers[::-1]


def test_numbers_go_round_and_leave_those_of_paho_alone(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    numbers = [device.link.publish(Outbound("o", b"", 1)) for _ in range(70_000)]
    assert min(numbers) >= 0x100 and max(numbers) == 0xFFFF
    assert all(len(set(numbers[start : start + 65_000])) == 65_000 for start in (0, 5000))


def test_an_acknowledgement_for_a_connection_that_is_gone_goes_nowhere(device: Device, broker: Start) -> None:
    """Its number may mean another message by now."""
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    peer.connections[0].send(encode_publish(b"in/1", b"", 1, False, 7, b"\x00"))
    device.run_until(lambda: device.inbounds)
    peer.connections[0].close()
    device.run_until(lambda: device.ups == 2)
    device.loop.call(device.inbounds[0].acknowledge)
    device.loop.call(lambda: [device.link.publish(Outbound("marker", b""))].clear())
    second = peer.connections[1]
    device.run_until(lambda: b"marker" in second.received)
    assert encode_puback(7) not in second.received
    assert device.downs == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x00",
        b"\x30\x80\x80\x80\x80",
        b"\x30\x06\x00\x02\xff\xfe\x00x",
        b"\x30\x07\x00\x01a\x03\x01\x01\x01",
        b"\x40\x00",
        b"\xff\x00",
        b"\x20\x04\x00\x00\x01\x99",
        b"\x90\x06\x00\x01\x00\x01\x99\x80",
        b"\xe0\x02\xfe\x00",
    ],
    ids=bytes.hex,
)
def test_a_broker_that_sends_garbage_is_left_and_tried_again(device: Device, broker: Start, data: bytes) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    peer.connections[0].send(data)
    device.run_until(lambda: device.ups == 2)
    assert (device.downs, device.inbounds) == (1, [])
    assert device.reasons


def test_a_secret_that_cannot_be_read_at_first_is_a_configuration_error(
    device: Device, broker: Start, tmp_path: Path
) -> None:
    peer = broker(accepting)
    with pytest.raises(ConfigError):
        device.connect(settings(peer, username="me", password_file=str(tmp_path / "none")))


def test_a_secret_that_is_being_replaced_while_it_reconnects_does_not_end_the_agent(
    device: Device, broker: Start, tmp_path: Path
) -> None:
    """Exit 78 would be for good: the service manager does not restart after it."""
    secret = tmp_path / "password"
    secret.write_text("old")
    peer = broker(accepting)
    device.connect(settings(peer, username="me", password_file=str(secret)))
    device.run_until(lambda: device.ups == 1)
    secret.unlink()
    peer.connections[0].close()
    device.run_until(lambda: sum("password_file" in reason for reason in device.reasons) >= 2)
    secret.write_text("new")
    device.run_until(lambda: device.ups == 2)
    assert b"new" in peer.connections[-1].received


def test_a_publish_without_a_connection_is_an_error(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.link.stop(None)
    with pytest.raises(ConnectionError):
        device.link.publish(Outbound("o", b""))


def test_a_farewell_is_sent_before_the_disconnect(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    device.link.stop(Outbound("status", b"stopped", 1))
    (connection,) = peer.connections
    device.run_until(lambda: b"\xe0" in connection.received[-3:])
    assert b"stopped" in connection.received
    assert len(peer.connections) == 1
