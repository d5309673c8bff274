"""Whatever a broker lets through: bounded in memory and answers, one line in the log for each cause, no harm done."""

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from maas_agent.hub.api.commands import MAX_BURST
from maas_agent.hub.mqtt.transport.wire import encode_publish
from tests.bundles import samples
from tests.system.brokers import Mosquitto
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.raw import burst, lax_broker, publish, stream

SAMPLE = samples(1)[0].tobytes()
INIT = json.dumps({"status": "init"})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that drops nothing by itself: what is bounded here is the device."""
    mosquitto = Mosquitto(tmp_path, options="max_queued_messages 0\nmax_inflight_messages 0")
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def console(broker: Mosquitto) -> Iterator[Console]:
    """Hears what the device says, not what it is flooded with."""
    client = Console(
        broker.port, filters=("maas/+/+/out/#", "maas/+/+/state", "maas/+/metrics", "maas/+/cmd/#", "to/#")
    )
    yield client
    client.close()


def peak_kib(pid: int) -> int:
    with Path(f"/proc/{pid}/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def lines_of(device: Device) -> int:
    return device.log().count("\n")


def has_received(count: int, metrics: dict[str, Any]) -> bool:
    return bool(metrics["pipelines"]["digits"]["received"] == count)


def still_serves(console: Console) -> None:
    assert "result" in console.ask("dev", "digits", SAMPLE, f"good-{len(console.messages)}")


@pytest.mark.parametrize("topic", ["digits/in/huge", "cmd/update/huge", "desired"])
def test_a_packet_of_256_mb_is_never_held(serving: Device, console: Console, broker: Mosquitto, topic: str) -> None:
    """The largest packet there is, on every kind of topic."""
    before = peak_kib(serving.pid)
    stream(broker.port, f"maas/dev/{topic}")
    if topic.startswith("digits"):
        assert console.wait("maas/dev/digits/out/huge").document["error"]["code"] == "too_large"
    still_serves(console)
    assert peak_kib(serving.pid) - before < 16 * 1024
    assert serving.log().count("no connection") == 0


ODD_IDS = {
    "emoji": ("\N{GRINNING FACE}", True),
    "umlaut": ("Tür-3", True),
    "combining": ("e\u0301", True),
    "right-to-left": ("\u05d0\u05d1", True),
    "dollar": ("$SYS", True),
    "quotes": ("a\"b'c\\", True),
    "bidi-override": ("a\u202eb", False),
    "zero-width": ("a\u200bb", False),
    "private-use": ("\ue000", False),
    "no-break-space": ("a\u00a0b", False),
    "line-separator": ("a\u2028b", False),
    "129-characters": ("x" * 129, False),
    "64-kib": ("x" * 65_000, False),
    "empty-level": ("a//b", False),
}


@pytest.mark.parametrize("name", ODD_IDS)
def test_an_odd_id_is_answered_as_it_is_or_as_a_bad_one(shared: tuple[Device, Console], name: str) -> None:
    device, console = shared
    odd, is_good = ODD_IDS[name]
    console.forget()
    console.publish(f"maas/dev/digits/in/{odd}", SAMPLE)
    if is_good:
        document = console.wait(f"maas/dev/digits/out/{odd}").document
        assert (document["id"], "result" in document) == (odd, True)
    else:
        document = console.wait("maas/dev/digits/out", lambda d: "error" in d).document
        assert document["error"]["code"] == "bad_id"
    assert device.log().count("no connection") == 0


def test_topics_and_commands_that_no_broker_should_let_through(tmp_path: Path, bundle: Path) -> None:
    """Wildcards, control characters, invalid UTF-8: nothing of them comes back in a topic, and the connection stays."""
    readable = [b"+", b"#", b"a+b", b"a#", b"\x00", b"\x01", b"\x7f", b"\xc2\x85", b"\xef\xbf\xbf"]
    names = [*readable, b"\xff\xfe", b"\xed\xa0\x80"]
    with lax_broker() as broker:
        keys = 'protocol = "3.1.1"\nreconnect_max_s = 1.0'
        device = Device(tmp_path / "dev", broker.url, LOCAL.format(bundle=bundle), broker=keys)
        device.start()
        try:
            broker.run_until(lambda: broker.subscribed and "bundle active" in device.log())
            lines = lines_of(device)
            number = 0
            for base, payload in ((b"maas/dev/digits/in/", SAMPLE), (b"maas/dev/cmd/update/", INIT.encode())):
                for name in names * 30:
                    number += 1
                    broker.send(encode_publish(base + name, payload, 1, False, number, None))
            for name in names * 30:
                number += 1
                broker.send(encode_publish(b"maas/dev/cmd/" + name + b"/1", INIT.encode(), 1, False, number, None))
            broker.send(encode_publish(b"maas/dev/digits/in/good", SAMPLE, 1, False, number + 1, None))
            broker.run_until(lambda: len(broker.acknowledged) == number + 1)
            answers = dict(broker.answers)
            assert b'"result"' in answers["maas/dev/digits/out/good"]
            bad = [json.loads(payload) for topic, payload in broker.answers if topic == "maas/dev/digits/out"]
            assert {document["error"]["code"] for document in bad} == {"bad_id"}
            assert len(bad) == len(readable) * 30  # the two that are no UTF-8 have no topic to answer on
            assert not [topic for topic in answers if not topic.isprintable() or set(topic) & set("+#")]
            assert not [topic for topic in answers if "/cmd/" in topic]
            assert broker.connections == 1
            assert lines_of(device) - lines <= 1
            assert "ignored: a message that cannot be read" in device.log()
        finally:
            device.close()


def test_retained_garbage_on_command_topics_is_harmless_on_every_connect(serving: Device, console: Console) -> None:
    garbage = ["init", "[]", "{}", '{"status": 1}', '{"status": "executing"}', "\xff\x00", "[" * 50_000, "x" * 70_000]
    for number in range(300):
        console.publish(f"maas/dev/cmd/update/{number}", garbage[number % len(garbage)], retain=True)
        console.publish(f"maas/dev/cmd/{'x' * 60}{number}/1", garbage[number % len(garbage)], retain=True)
    console.wait_for_count("maas/dev/cmd/", 600)
    for _ in range(2):
        serving.stop()
        before = lines_of(serving)
        console.forget()
        serving.start()
        console.wait("maas/dev/digits/state", lambda state: state["serving"])
        still_serves(console)
        assert [message for message in console.on("maas/dev/cmd/") if not message.retain] == []
        assert lines_of(serving) - before < 15


def test_a_storm_of_commands_is_answered_in_bounded_number(
    serving: Device, console: Console, broker: Mosquitto
) -> None:
    """Thousands of requests, each with an id of its own: each answer would be kept by the broker for ever."""
    before, lines = peak_kib(serving.pid), lines_of(serving)
    names = ("no-such", "restart", "update")
    burst(broker.port, [publish(f"maas/dev/cmd/{names[n % 3]}/{n}", INIT.encode(), n) for n in range(1, 3001)])
    wait_until(lambda: "more commands than are dealt with" in serving.log(), "the storm is not told")
    still_serves(console)
    console.wait_for_count("maas/dev/cmd/", 3000)
    answered = {m.topic for m in console.on("maas/dev/cmd/") if m.document.get("status") != "init"}
    assert MAX_BURST <= len(answered) < 2 * MAX_BURST
    assert lines_of(serving) - lines < 3 * MAX_BURST
    assert serving.log().count("more commands than are dealt with") == 1
    assert peak_kib(serving.pid) - before < 32 * 1024


def test_a_flood_of_large_qos_0_inputs_is_bounded_in_bytes(
    make_device: MakeDevice, console: Console, broker: Mosquitto, bundle: Path
) -> None:
    """Half a gigabyte while the worker stands still; a thousand inputs may wait, but not of any size."""
    device: Device = make_device(LOCAL.format(bundle=bundle) + "window = 4\ndeadline_s = 600.0\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    os.kill(worker, signal.SIGSTOP)
    lines, payload = lines_of(device), bytes(4 << 20)
    for begin in range(0, 120, 20):  # no faster than it goes through the broker, which would drop them
        burst(broker.port, [publish(f"maas/dev/digits/in/{begin + n}", payload) for n in range(20)])
        console.wait("maas/dev/metrics", partial(has_received, begin + 20))
    assert console.wait("maas/dev/metrics").document["pipelines"]["digits"]["dropped"] == 120 - 4 - 16
    # 64 MiB wait; what the window holds is there twice, because the worker has not taken it yet.
    assert peak_kib(device.pid) < (64 + 2 * 4 * 4 + 96) * 1024
    os.kill(worker, signal.SIGCONT)
    still_serves(console)
    assert lines_of(device) == lines


def test_a_flood_of_small_qos_0_inputs_leaves_the_connection_alone(
    serving: Device, console: Console, broker: Mosquitto
) -> None:
    before, lines = peak_kib(serving.pid), lines_of(serving)
    burst(broker.port, [publish("maas/dev/digits/in", b"x") for _ in range(5000)])
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["received"] == 5000)
    still_serves(console)
    assert peak_kib(serving.pid) - before < 32 * 1024
    assert lines_of(serving) == lines


# ------------------------------------------------------------- time


def test_an_input_that_has_expired_is_answered_with_an_error_and_not_computed(
    make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device: Device = make_device(LOCAL.format(bundle=bundle) + "window = 1\n")
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    os.kill(worker, signal.SIGSTOP)
    console.publish("maas/dev/digits/in/first", SAMPLE)
    for qos in (0, 1):
        console.publish(
            f"maas/dev/digits/in/late-{qos}", SAMPLE, qos, MessageExpiryInterval=1, ResponseTopic=f"to/me/{qos}"
        )
    console.publish("maas/dev/digits/in/patient", SAMPLE, MessageExpiryInterval=1000)
    for qos in (0, 1):
        late = console.wait(f"maas/dev/digits/out/late-{qos}").document
        assert late["error"]["code"] == "expired"
        assert console.wait(f"to/me/{qos}").document["error"]["code"] == "expired"
    os.kill(worker, signal.SIGCONT)
    for name in ("first", "patient"):
        assert "result" in console.wait(f"maas/dev/digits/out/{name}").document
    console.wait("maas/dev/metrics", lambda m: m["pipelines"]["digits"]["errors"].get("expired") == 2)


def test_an_answer_to_a_request_carries_what_is_left_of_its_expiry(shared: tuple[Device, Console]) -> None:
    _, console = shared
    console.publish("maas/dev/digits/in/soon", SAMPLE, MessageExpiryInterval=1000, ResponseTopic="to/me/soon")
    assert 980 <= console.wait("to/me/soon").properties.MessageExpiryInterval <= 1000
    out = console.wait("maas/dev/digits/out/soon")
    assert not hasattr(out.properties, "MessageExpiryInterval")


def test_metrics_expire_after_three_intervals(shared: tuple[Device, Console]) -> None:
    _, console = shared
    assert console.wait("maas/dev/metrics").properties.MessageExpiryInterval == 2  # three times half a second, whole
