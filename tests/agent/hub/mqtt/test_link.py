"""The connection to the broker; with a real one it is tested in tests/system."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maas_agent.config import BrokerSettings
from maas_agent.errors import ConfigError
from maas_agent.hub.mqtt import backoff, receiving
from maas_agent.hub.mqtt import link as link_module
from maas_agent.hub.mqtt.connection import Phase
from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.flow.receive_window import ReceiveWindow
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.mqtt.transport.wire import PINGREQ, encode_puback, encode_publish, packed_properties
from maas_agent.hub.system.loop import Loop, every
from tests.agent.hub.doubles import Lines
from tests.agent.hub.mqtt.broker import CONNACK, Connection, OnData, ScriptedBroker


class Device:
    """A link in a loop, and everything it has told. ``stop_when`` is looked at after every turn."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.inbounds: list[Inbound] = []
        self.numbers: list[int] = []
        self.ups = self.downs = 0
        self.reasons: list[str] = []
        self.log = Lines()
        self.lines = self.log.lines
        self.birth: Outbound | None = None
        self.will: Outbound | None = None
        self.link: Link

    def connect(self, broker: BrokerSettings, *subscriptions: str) -> None:
        self.link = Link(self.loop, broker, "maas-dev", self.will, list(subscriptions), 1000, self, self.log)
        self.link.on_failed = lambda failure: self.reasons.append(failure.reason)
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
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)


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


def settings(broker: ScriptedBroker, **options: Any) -> BrokerSettings:
    return BrokerSettings(url=broker.url, **({"reconnect_max_s": 0.02} | options))


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


def test_after_an_outage_in_which_nobody_answered_it_is_the_version_of_before(device: Device, broker: Start) -> None:
    """The other one is tried too, now and then: it may be another broker. And given up when that connection ends."""

    def script(connection: Connection, _data: bytes) -> None:
        if len(peer.connections) in (1, 14, 15):
            connection.send(CONNACK[connection.level])
        if len(peer.connections) != 15:
            connection.close()

    peer = broker(script)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups == 3)
    assert [connection.level for connection in peer.connections] == [5] * 9 + [4] + [5] * 3 + [4] + [5]


def test_a_broker_that_refuses_the_version_of_before_is_asked_with_the_other_at_once(
    device: Device, broker: Start
) -> None:
    def script(connection: Connection, _data: bytes) -> None:
        if len(peer.connections) == 2:
            connection.send(b"\x20\x03\x00\x84\x00")  # Unsupported Protocol Version (section 3.2.2.2)
        else:
            connection.send(CONNACK[connection.level])
        if len(peer.connections) < 3:
            connection.close()

    peer = broker(script)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups == 2)
    assert [connection.level for connection in peer.connections] == [5, 5, 4]


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
    slow = device.link.publish(Outbound("o", b"", 1))
    numbers = []
    while len(numbers) < 70_000:
        sent = [device.link.publish(Outbound("o", b"", 1)) for _ in range(1000)]
        peer.connections[0].send(b"".join(map(encode_puback, sent)))
        numbers += sent
        device.run_until(partial(lambda count: len(device.numbers) == count, len(numbers)))
    assert min(numbers) >= 0x100 and max(numbers) == 0xFFFF
    assert all(len(set(numbers[start : start + 65_000])) == 65_000 for start in (0, 5000))
    assert slow not in numbers  # it is on its way still: the broker would take another one for the same message


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


def test_what_comes_again_on_a_resumed_session_is_told_once_and_acknowledged_there(
    device: Device, broker: Start
) -> None:
    def script(connection: Connection, data: bytes) -> None:
        if data[0] == 0x10:
            connection.send(b"\x20\x03\x01\x00\x00")  # session present (section 3.2.2.1.1)

    peer = broker(script)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    for number in (7, 8):
        peer.connections[0].send(encode_publish(b"in/1", b"", 1, False, number, b"\x00"))
    device.run_until(lambda: len(device.inbounds) == 2)
    peer.connections[0].close()
    device.run_until(lambda: device.downs)
    device.inbounds[0].acknowledge()
    device.run_until(lambda: device.ups == 2)
    second = peer.connections[1]
    for number in (7, 8):
        again = bytearray(encode_publish(b"in/1", b"", 1, False, number, b"\x00"))
        again[0] |= 0x08  # DUP (section 3.3.1.1)
        second.send(bytes(again))
    device.run_until(lambda: encode_puback(7) in second.received)
    assert encode_puback(8) not in second.received
    device.loop.call(device.inbounds[1].acknowledge)
    device.run_until(lambda: encode_puback(8) in second.received)
    assert len(device.inbounds) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x00",
        b"\x30\x80\x80\x80\x80",
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


# ------------------------------------------------------------- staying connected


def answering(connection: Connection, data: bytes) -> None:
    """A broker that answers CONNECT and PINGREQ."""
    accepting(connection, data)
    if data.startswith(PINGREQ):
        connection.send(b"\xd0\x00")


def test_a_broker_that_answers_is_kept_and_asked_less_often_than_it_may_be(device: Device, broker: Start) -> None:
    peer = broker(answering)
    device.connect(settings(peer, keepalive_s=1))
    device.run_until(lambda: device.ups)
    begun = time.monotonic()
    device.run_until(lambda: peer.connections[0].received.count(PINGREQ) == 4)
    assert time.monotonic() - begun > 2.5  # how much later that is told is the machine's affair
    assert (device.ups, device.downs) == (1, 0)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_silent_broker_is_found_within_one_and_a_half_keepalives(
    device: Device, broker: Start, protocol: str
) -> None:
    """It reads and says nothing: what a broker looks like whose answers are lost on the way."""
    peer = broker(accepting)
    device.connect(settings(peer, keepalive_s=2, protocol=protocol))
    device.run_until(lambda: device.ups)
    silent_since = time.monotonic()
    device.run_until(lambda: device.downs)
    assert time.monotonic() - silent_since > 2  # and by test_keepalive 2.5, if the machine has time for it
    assert "has gone silent" in device.reasons[-1]
    (first, *_) = peer.connections
    assert first.received.count(PINGREQ) == 1
    device.run_until(lambda: len(peer.connections) == 2)
    # Keep Alive timeout, which makes the broker publish the Last Will; 3.1.1 just hangs up, with the same effect.
    assert first.received.endswith(b"\xe0\x01\x8d" if protocol == "5" else PINGREQ)


def test_a_broker_that_takes_nothing_is_found_as_soon_and_what_waits_for_it_is_bounded(
    device: Device, broker: Start
) -> None:
    """Nothing arrives there either: the buffers are full, and the question itself cannot be sent."""
    peer = broker(accepting)
    device.connect(settings(peer, keepalive_s=2))
    device.run_until(lambda: device.ups)
    peer.connections[0].pause()
    sent = 0
    while device.link.send_quota:
        device.link.publish(Outbound("out", bytes(100_000)))
        device.link.flush()
        sent += 100_000
    assert sent < 64 << 20
    silent_since = time.monotonic()
    device.run_until(lambda: device.downs)
    assert time.monotonic() - silent_since > 2  # and by test_keepalive 2.5, if the machine has time for it
    assert PINGREQ not in peer.connections[0].received


def test_a_slow_broker_that_reads_is_not_given_up_before_the_question_reaches_it(device: Device, broker: Start) -> None:
    """It says nothing for many keepalives because everything before the PINGREQ is still on its way."""
    peer = broker(accepting)
    device.connect(settings(peer, keepalive_s=1))
    device.run_until(lambda: device.ups)
    (slow,) = peer.connections
    slow.pause()
    while device.link.send_quota:
        device.link.publish(Outbound("out", bytes(1 << 20)))
        device.link.flush()
    begun, taken = time.monotonic(), 0
    total = device.link._connection._packets.backlog  # type: ignore[union-attr]

    def sip() -> None:
        nonlocal taken
        taken += slow.read(total // 100)
        if PINGREQ in slow.received[-100:]:
            slow.send(b"\xd0\x00")
        device.loop.after(0.04, sip)

    sip()
    device.run_until(lambda: device.downs or taken >= total)
    assert (device.downs, device.reasons) == (0, [])
    assert time.monotonic() - begun > 3  # many times what a silent one is given


def test_the_brokers_own_keepalive_is_obeyed(device: Device, broker: Start) -> None:
    """Server Keep Alive (section 3.2.2.3.14): 1 s where 30 were asked for."""
    peer = broker(lambda connection, data: connection.send(CONNACK_KEEPALIVE_1) if data[0] == 0x10 else None)
    device.connect(settings(peer, keepalive_s=30))
    device.run_until(lambda: device.ups)
    device.run_until(lambda: PINGREQ in peer.connections[0].received)
    assert "keepalive of 1 s" in (device.run_until(lambda: device.downs) or device.reasons[-1])


def test_a_farewell_to_a_broker_that_takes_nothing_does_not_hold_the_end(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer, keepalive_s=60))
    device.run_until(lambda: device.ups)
    peer.connections[0].pause()
    while device.link.send_quota:
        device.link.publish(Outbound("out", bytes(100_000)))
        device.link.flush()
    device.link.stop(Outbound("status", b"stopped"))  # returns


# ------------------------------------------------------------- coming back


def test_a_broker_that_accepts_and_then_resets_is_tried_ever_less_often_and_told_less_often_still(
    device: Device, broker: Start
) -> None:
    def script(connection: Connection, data: bytes) -> None:
        accepting(connection, data)
        device.loop.call(connection.reset)

    peer = broker(script)
    waits: list[float] = []
    device.connect(settings(peer, reconnect_max_s=0.02))
    after = device.loop.after
    device.loop.after = lambda seconds, action: (
        (  # type: ignore[method-assign]
            waits.append(seconds) if action == device.link._start_again else None
        )
        or after(seconds, action)
    )
    device.run_until(lambda: device.ups >= 40)
    assert len(waits) >= 39 and max(waits) <= 0.02
    assert max(waits[:1]) <= 0.01 < max(waits)  # the bound has grown though every attempt was accepted
    assert len({round(wait, 6) for wait in waits}) > 30  # full jitter: no two alike
    assert len(device.lines) < 20
    assert device.link.trouble is None


def test_a_name_look_up_that_hangs_holds_nothing_up_and_is_given_up(
    device: Device, broker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can end it, so there is a bound on how many of them hang at the same time."""
    peer = broker(accepting)
    hanging, looked_up = threading.Event(), 0
    look_up = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        hanging.wait(30)
        return look_up(*arguments, **options)

    monkeypatch.setattr(link_module, "_OPEN_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    ticks: list[float] = []
    every(device.loop, 0.005, lambda: ticks.append(time.monotonic()))
    device.connect(settings(peer))
    device.run_until(lambda: any("attempts hang in the look-up" in reason for reason in device.reasons))
    assert any("no connection within" in reason for reason in device.reasons)
    device.run_until(lambda: len(device.reasons) > 10)
    assert looked_up == 4
    assert max(later - sooner for sooner, later in itertools.pairwise(ticks)) < 10  # a look-up hangs for thirty
    monkeypatch.setattr(link_module, "_OPEN_S", 15.0)
    hanging.set()
    device.run_until(lambda: device.ups)
    assert (device.ups, device.downs) == (1, 0)


def test_a_cause_is_told_once_in_full_and_its_going_on_less_and_less_often(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    device.connect(BrokerSettings(url=f"mqtt://127.0.0.1:{port}", reconnect_max_s=0.01))
    device.run_until(lambda: len(device.reasons) >= 64)
    assert {*device.reasons} == {f"nobody listens on 127.0.0.1:{port}"}
    (first, *others) = device.lines
    assert first[:2] == ("warning", "no connection to the broker") and first[2]["mend"]
    assert [line[2]["failures"] for line in others] == [2, 4, 8, 16, 32, 64]


# ------------------------------------------------------------- what the broker says


def refusing(code: int) -> OnData:
    def script(connection: Connection, data: bytes) -> None:
        if data[0] == 0x10:
            properties = b"\x1f\x00\x03why" if code != 0x9C else b"\x1c\x00\x05other"
            connection.send(bytes([0x20, 3 + len(properties), 0, code, len(properties)]) + properties)
            connection.close()

    return script


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0x87, "Not authorized (0x87): why: this device asked without a username"),
        (0x85, "Client identifier not valid (0x85): why"),
        (0x97, "Quota exceeded (0x97): why"),
        (0x9C, "Use another server (0x9c), use other"),
    ],
)
def test_a_refusal_is_told_by_name_with_all_that_the_broker_says(
    device: Device, broker: Start, code: int, told: str
) -> None:
    device.connect(settings(broker(refusing(code)), protocol="5"))
    device.run_until(lambda: len(device.reasons) >= 3)
    assert {*device.reasons} == {f"the broker refused the connection: {told}"}
    assert len([line for line in device.lines if line[1] == "no connection to the broker"]) == 1


def test_a_refusal_of_3_1_1_is_told_by_name_too(device: Device, broker: Start) -> None:
    peer = broker(lambda connection, _: (connection.send(b"\x20\x02\x00\x04"), connection.close())[1])
    device.connect(settings(peer, protocol="3.1.1"))
    device.run_until(lambda: device.reasons)
    assert "Bad user name or password (0x86)" in device.reasons[0]


def test_a_disconnect_is_told_by_name(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    peer.connections[0].send(b"\xe0\x01\x8b")
    peer.connections[0].close()
    device.run_until(lambda: device.downs)
    assert device.reasons == ["the broker ended the connection: Server shutting down (0x8b)"]


def test_refused_messages_are_told_by_name_once_and_counted(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    numbers = [device.link.publish(Outbound("out", b"x", 1)) for _ in range(100)]
    for number in numbers:
        peer.connections[0].send(b"\x40\x03" + number.to_bytes(2, "big") + (b"\x87" if number % 2 else b"\x97"))
    device.run_until(lambda: len(device.numbers) == 100)
    told = [line[2]["reason"] for line in device.lines if line[1] == "broker refused a message"]
    assert sorted(told) == ["Not authorized (0x87)", "Quota exceeded (0x97)"]
    assert device.link.counters.refused == 100


def test_refused_subscriptions_are_told_by_name(device: Device, broker: Start) -> None:
    def script(connection: Connection, data: bytes) -> None:
        accepting(connection, data)
        if b"\x82" in data:
            connection.send(b"\x90\x05\x00\x01\x00\x01\x87")

    device.connect(settings(broker(script)), "a/#", "b/#")
    device.run_until(lambda: any(line[1] == "broker refused a subscription" for line in device.lines))
    told = [line[2] for line in device.lines if line[1] == "broker refused a subscription"]
    assert [(fields["topic"], fields["reason"]) for fields in told] == [("b/#", "Not authorized (0x87)")]


def connack(properties: bytes) -> bytes:
    return b"\x20" + bytes([3 + len(properties), 0, 0, len(properties)]) + properties


CONNACK_KEEPALIVE_1 = connack(b"\x13\x00\x01")


def limited(properties: bytes) -> OnData:
    return lambda connection, data: connection.send(connack(properties)) if data[0] == 0x10 else None


def test_what_is_larger_than_the_broker_takes_is_not_sent(device: Device, broker: Start) -> None:
    """Sent, it would end the connection, and again on the next one."""
    peer = broker(limited(b"\x27" + (1000).to_bytes(4, "big")))
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    for qos in (1, 1, 1, 1, 1, 0):
        with pytest.raises(TooLargeError) as refused:
            device.link.publish(Outbound("out", b"L" * 2000, qos))
        assert refused.value.most == 1000 < 2000 < refused.value.size
    device.loop.call(lambda: device.link.publish(Outbound("out", b"small", 1)))
    device.run_until(lambda: b"small" in peer.connections[0].received)
    assert b"LLL" not in peer.connections[0].received
    assert device.link.counters.too_large == 6
    assert [line[2]["most"] for line in device.lines if line[0] == "error"] == [1000]


@pytest.mark.parametrize(("level", "how"), [(4, "close"), (4, "reset"), (5, "close"), (5, "reset"), (5, "says so")])
def test_a_broker_that_ends_the_connection_over_a_large_packet_is_asked_less(
    device: Device, broker: Start, level: int, how: str
) -> None:
    """It announces no limit. Each time it takes what is small first."""

    def script(connection: Connection, data: bytes) -> None:
        if data[0] == 0x10:
            connection.send(CONNACK[level] + (b"\x90\x04\x00\x01\x00\x00" if level == 5 else b"\x90\x03\x00\x01\x00"))
        elif b"LLLL" in data and how == "reset":
            connection.reset()
        elif b"LLLL" in data:
            connection.send(b"\xe0\x02\x95\x00" if how == "says so" else b"")
            connection.close()

    peer = broker(script)
    device.connect(settings(peer, protocol="5" if level == 5 else "3.1.1"), "in")
    ends = 1 if how == "says so" else 4
    for number in range(1, ends + 1):
        device.run_until(lambda: device.ups == number)  # noqa: B023
        # The SUBACK of this connection is read first: it proves that the broker takes what is small.
        device.run_until(lambda: device.link._connection and device.link._connection.phase is Phase.SUBSCRIBED)
        device.loop.call(lambda: device.link.publish(Outbound("out", b"L" * 50_000, 1)))
        device.run_until(lambda: device.downs == number)  # noqa: B023
    device.run_until(lambda: device.ups == ends + 1)
    with pytest.raises(TooLargeError):
        device.link.publish(Outbound("out", b"L" * 50_000, 1))
    device.loop.call(lambda: device.link.publish(Outbound("out", b"small", 1)))
    device.run_until(lambda: b"small" in peer.connections[-1].received)
    told = [line[1] for line in device.lines if line[0] == "error"]
    assert told == [
        "this broker ends connections over large messages: results as large get an error instead",
        "not sent: larger than the broker takes",
    ]


def test_a_broker_that_takes_nothing_at_all_teaches_nothing(device: Device, broker: Start) -> None:
    """It resets after CONNACK: not a word about the size of anything."""

    def script(connection: Connection, data: bytes) -> None:
        if len(peer.connections) == 6 and data[0] == 0x10:
            connection.send(CONNACK[5])
        elif data[0] == 0x10:
            connection.send(CONNACK[5])
            connection.reset()

    peer = broker(script)
    device.birth = Outbound("out", b"L" * 50_000, 1)
    device.connect(settings(peer, protocol="5"), "in")
    device.run_until(lambda: b"L" * 50_000 in peer.connections[-1].received)
    assert len(peer.connections) == 6


def test_a_broker_that_keeps_nothing_and_knows_qos_0_only_gets_what_it_takes(device: Device, broker: Start) -> None:
    peer = broker(limited(b"\x24\x00" + b"\x25\x00"))
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    number = device.link.publish(Outbound("out", b"x", 1, True))
    device.run_until(lambda: device.numbers and b"\x30\x07\x00\x03out\x00x" in peer.connections[0].received)
    assert device.numbers == [number]
    assert len([line for line in device.lines if line[0] == "error"]) == 2


def test_a_last_will_that_a_broker_refuses_is_reduced(device: Device, broker: Start) -> None:
    def script(connection: Connection, data: bytes) -> None:
        if data[0] == 0x10:
            flags = data[9]
            refusal = 0x9A if flags & 0x20 else 0x9B if flags & 0x18 else 0
            connection.send(bytes([0x20, 3, 0, refusal, 0]))
            if refusal:
                connection.close()

    peer = broker(script)
    device.will = Outbound("status", b"offline", 1, True)
    device.connect(settings(peer, protocol="5"))
    device.run_until(lambda: device.ups)
    assert [connection.received[9] & 0x38 for connection in peer.connections] == [0x28, 0x08, 0x00]


def test_subscriptions_that_would_end_the_connection_are_left_out_and_told(device: Device, broker: Start) -> None:
    peer = broker(limited(b"\x2a\x00"))
    device.connect(settings(peer), "dev/in/#", "$share/g/in/#")
    device.run_until(lambda: device.ups)
    device.run_until(lambda: b"dev/in/#" in peer.connections[0].received)
    assert b"$share" not in peer.connections[0].received
    assert any("no shared subscriptions" in line[1] for line in device.lines)


def test_an_expiry_and_user_properties_go_both_ways(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    device.link.publish(Outbound("out", b"x", expiry_s=7, user_properties=(("replayed", "1"),)))
    device.link.flush()
    packed = b"\x26\x00\x08replayed\x00\x011" + b"\x02\x00\x00\x00\x07"
    device.run_until(lambda: packed in peer.connections[0].received)
    peer.connections[0].send(encode_publish(b"in", b"", 0, False, 0, packed_properties(None, None, 99)))
    device.run_until(lambda: device.inbounds)
    assert device.inbounds[0].expiry_s == 99


# ------------------------------------------------------------- what must not be possible


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_message_that_cannot_be_read_is_put_aside_acknowledged_and_told_once(
    device: Device, broker: Start, protocol: str
) -> None:
    """Not closed over: a QoS 1 message would come back with every connection."""
    peer = broker(accepting)
    device.connect(settings(peer, protocol=protocol))
    device.run_until(lambda: device.ups)
    (connection,) = peer.connections
    no_properties = b"\x00" if protocol == "5" else None
    bad = [encode_publish(b"in/\xff\xfe", b"x", 1, False, number, no_properties) for number in range(1, 50)]
    if protocol == "5":
        bad += [encode_publish(b"in/1", b"x", 1, False, number, b"\x04\x03\x00\x01\xff") for number in range(50, 99)]
    connection.send(b"".join(bad) + encode_publish(b"in/good", b"", 1, False, 999, no_properties))
    device.run_until(lambda: device.inbounds)
    device.run_until(lambda: connection.received.count(b"\x40\x02") >= len(bad))
    assert [message.topic for message in device.inbounds] == ["in/good"]
    assert device.link.counters.unreadable == len(bad)
    assert [line[1] for line in device.lines if line[0] == "warning"] == ["ignored: a message that cannot be read"]
    assert device.downs == 0


def test_properties_as_long_as_a_payload_are_not_read_and_count_as_too_large(device: Device, broker: Start) -> None:
    peer = broker(accepting)
    device.connect(settings(peer))
    device.run_until(lambda: device.ups)
    device.link._max_packet = 1 << 20
    user = b"\x26\x00\x00\x00\x00" * 14_000
    length = len(user)
    packed = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + user
    peer.connections[0]._end.setblocking(True)
    device.link._connection._packets._max = 1 << 20  # type: ignore[union-attr]
    peer.connections[0].send(encode_publish(b"in/1", b"x", 1, False, 1, packed))
    device.run_until(lambda: device.inbounds)
    assert device.inbounds[0].cut_bytes == length + 1


def test_inputs_beyond_what_is_held_are_fetched_again_in_their_order(
    device: Device, broker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 3.1.1 broker without a window of its own sends whatever there is; nothing may be lost or overtaken."""
    monkeypatch.setattr(receiving, "ReceiveWindow", partial(ReceiveWindow, most_messages=1024))
    unacknowledged: dict[int, bytes] = {}
    sent = 0

    def resend(connection: Connection) -> None:
        nonlocal sent
        sent += len(unacknowledged)
        for number, payload in unacknowledged.items():
            connection.send(encode_publish(b"in", payload, 1, False, number, None))

    def script(connection: Connection, data: bytes) -> None:
        accepting(connection, data)
        if data[0] == 0x10:
            resend(connection)
        while data and data[0] in (0x40, 0xE0):
            if data[0] == 0x40:
                unacknowledged.pop(int.from_bytes(data[2:4], "big"), None)
            data = data[2 + data[1] :]
        if connection.received.endswith(b"\xe0\x00"):
            connection.close()  # as brokers do when they have read all that came before

    peer = broker(script)
    unacknowledged |= {number: b"%d" % number for number in range(1, 2501)}
    device.connect(settings(peer, protocol="3.1.1"))
    answered: list[bytes] = []

    def work() -> None:
        """Answer what has come, once nothing more comes: the worst case for what is held."""
        assert len(device.inbounds) - len(answered) <= 1024
        if len(device.inbounds) + device.link.counters.left_out == sent:
            for message in device.inbounds[len(answered) :]:
                answered.append(message.payload)
                message.acknowledge()

    device.loop.at_turn_end(work)
    device.run_until(lambda: len(answered) == 2500)
    assert answered == [b"%d" % number for number in range(1, 2501)]
    assert device.link.counters.left_out == 2500 - 1024 + 2500 - 2048
    assert (device.ups, len(peer.connections)) == (3, 3)
    # A clean goodbye, so that the broker does not publish the Last Will over it.
    assert all(connection.received.endswith(b"\xe0\x00") for connection in peer.connections[:2])
    told = [line[1] for line in device.lines if line[0] == "warning"]
    assert len(told) == 1 and "more QoS 1 inputs than are held" in told[0]


# ------------------------------------------------------------- two with one client id


def test_a_session_that_was_taken_over_is_told_loudly_and_not_fought_for(device: Device, broker: Start) -> None:
    def script(connection: Connection, data: bytes) -> None:
        accepting(connection, data)
        device.loop.after(0.01, lambda: (connection.send(b"\xe0\x01\x8e"), connection.close()))

    peer = broker(script)
    device.connect(settings(peer, protocol="5", reconnect_max_s=0.4))
    begun = time.monotonic()
    device.run_until(lambda: len(peer.connections) == 4)
    assert time.monotonic() - begun > 3 * 0.4 / 2
    errors = [line for line in device.lines if line[0] == "error"]
    assert len(errors) == 1 and "another client uses the client id maas-dev" in errors[0][2]["reason"]
    assert "device.id" in errors[0][2]["mend"]
    assert device.link.trouble and "maas-dev" in device.link.trouble


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_row_of_short_lives_is_told_as_what_it_most_likely_is(device: Device, broker: Start, protocol: str) -> None:
    def script(connection: Connection, data: bytes) -> None:
        accepting(connection, data)
        device.loop.after(0.01, connection.close)

    device.connect(settings(broker(script), protocol=protocol, reconnect_max_s=0.4))
    device.run_until(lambda: device.link.trouble)
    assert device.ups == 4
    assert [line[0] for line in device.lines].count("error") == 1
