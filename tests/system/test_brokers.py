"""The promises of docs/mqtt.md with every broker of docs/brokers.md, a real one each; see tests/system/matrix.py."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from maas_agent.bundle.desired_state import DesiredModel, Document, encode_desired
from tests.bundles import make_bundle, samples
from tests.system.conftest import LOCAL
from tests.system.console import WAIT_S, Console
from tests.system.device import Device, wait_until
from tests.system.matrix import (
    AMQTT,
    DEVIATIONS,
    KINDS,
    MOSQUITTO,
    MOSQUITTO_311,
    NATS,
    PROMISES,
    RABBITMQ,
    Kind,
)
from tests.system.plays import play_all
from tests.system.rabbitmq import SingleRabbitMQ
from tests.system.servers import PASSWORD, USER, Amqtt, DurableMosquitto, Nats, Server

SERVERS: dict[str, type[Server]] = {
    MOSQUITTO: DurableMosquitto,
    MOSQUITTO_311: DurableMosquitto,
    RABBITMQ: SingleRabbitMQ,
    NATS: Nats,
    AMQTT: Amqtt,
}
SAMPLE = samples(1)[0].tobytes()
HELD, QUEUED = 5, 40
"""How many inputs the device, and how many the broker holds when something happens: more than the agent's window."""
CONNECTED, REFUSED = "connected to the broker", "broker refused the connection"
NOT_SHARED = "the broker does not deliver shared subscriptions"


class Scene:
    """A broker; the device ``dev`` of the group ``line`` that serves; a console with a session that is kept."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.server = SERVERS[kind.key](folder / "broker")
        self.secret, self.wrong = folder / "password", folder / "wrong-password"
        self.secret.write_text(PASSWORD)
        self.wrong.write_text("guessed")
        self.bundle = make_bundle(folder / "digits-1.0.0.maas", "digits", "1.0.0", seed=1)
        self.device, self.away = self.made("dev", kind.protocol), self.made("away")
        self.console: Console
        self._first = 0
        self._opened = ExitStack()

    def open(self) -> None:
        """Start the broker, then who uses it."""
        self._opened.callback(self.server.close)
        self.server.start()
        self.console = self.connected("console", durable=True)
        self._opened.callback(self.console.close)
        for device in (self.away, self.device):
            self._opened.callback(device.close)
        self.start(self.device)

    def close(self) -> None:
        """End everybody, the broker last."""
        self._opened.close()

    def connected(self, name: str, filters: tuple[str, ...] = ("#",), *, durable: bool = False) -> Console:
        return Console(self.server.port, name, filters, user=(USER, PASSWORD), durable=durable)

    def made(self, name: str, protocol: str | None = None, secret: Path | None = None) -> Device:
        """A device that is not started yet; it need not guess the MQTT version unless it is told to."""
        device = Device(
            self.folder / name,
            self.server.url,
            LOCAL.format(bundle=self.bundle) + "window = 4\ndeadline_s = 120.0\n",
            device_id=name,
        )
        login = f'username = "{USER}"\npassword_file = "{secret or self.secret}"\n'
        broker = f'[broker]\nprotocol = "{protocol or self.kind.mqtt}"\n{login}'
        text = device.config.read_text().replace("[broker]\n", broker)
        device.config.write_text(text.replace("[device]\n", '[device]\ngroups = ["line"]\n'))
        return device

    def start(self, device: Device) -> None:
        """Start a device and wait until it serves and has subscribed: its birth message comes after that."""
        births, loads = self._births(device), device.log().count("load_ms") if device.log_path.exists() else 0
        device.start()
        wait_until(lambda: self._births(device) > births, "it does not connect", 60)
        # The log, not the state topic: that may still be the one of before.
        wait_until(lambda: device.log().count("load_ms") > loads, "it does not serve")

    def _births(self, device: Device) -> int:
        statuses = self.console.on(f"maas/{device.id}/status")
        return sum(status.payload != b"" and status.document.get("status") == "online" for status in statuses)

    def wait_connected(self, device: Device, already: int) -> None:
        """Wait for one more connection than ``already``."""
        wait_until(lambda: device.connections > already, "no connection", 60)

    def ids(self, count: int = 1) -> list[str]:
        """New ids for inputs."""
        self._first += count
        return [str(number) for number in range(self._first - count, self._first)]

    def send(self, device: str, ids: list[str]) -> None:
        """Inputs of QoS 1; returns when the broker has them."""
        for info in [self.console.publish(f"maas/{device}/digits/in/{name}", SAMPLE) for name in ids]:
            info.wait_for_publish(WAIT_S)

    def answers(self, device: str, ids: list[str], kept: bool) -> bool:
        """Whether all inputs are answered. Where they should be lost, one that is sent now must be answered alone."""
        topics = [f"maas/{device}/digits/out/{name}" for name in ids]
        if not kept:
            (late,) = self.ids()
            self.send(device, [late])
            self.console.wait(f"maas/{device}/digits/out/{late}")
            return any(message.topic in topics for message in self.console.on(f"maas/{device}/"))
        for topic in topics:
            # NATS: what was not acknowledged comes again after `ack_wait`, of which there may be two.
            assert "result" in self.console.wait(topic, seconds=120).document
        return True

    def hold(self, ids: list[str]) -> int:
        """Let the device take inputs and not answer them; the process id of its stopped worker."""
        (worker,) = self.device.workers()
        os.kill(worker, signal.SIGSTOP)
        self.console.forget()
        self.send("dev", ids)

        def holds_all(metrics: dict[str, Any]) -> bool:
            digits = metrics["pipelines"]["digits"]
            return digits["received"] - digits["answered"] - sum(digits["errors"].values()) >= len(ids)

        self.console.wait("maas/dev/metrics", holds_all)
        return worker

    def retained(self, topics: str, *, beside: str) -> list[bytes]:
        """What a new subscriber to ``topics`` is sent before a message that is published then, ``beside`` it."""
        reader = self.connected(f"reader-{self.ids()[0]}", (topics,))
        try:
            reader.publish(beside, b'{"end":true}')
            reader.wait(beside, lambda document: document.get("end"))
            payloads = [message.payload for message in reader.on("maas/")]
            return payloads[: payloads.index(b'{"end":true}')]
        finally:
            reader.close()

    @cached_property
    def absence(self) -> "Absence":
        """The device is stopped, is given things to do meanwhile, and comes back."""
        self.console.forget()  # but what `retained` has published there may still be on its way
        assert self.device.stop() == 0
        self.console.wait("maas/dev/status", lambda status: status.get("status") == "stopped")
        ids = self.ids(QUEUED)
        self.send("dev", ids)
        wish = Document(1, {"digits": DesiredModel(version="1.0.0")})
        self.console.publish("maas/dev/desired", encode_desired(wish), retain=True).wait_for_publish(WAIT_S)
        command = self.console.publish("maas/dev/cmd/update/away", b'{"status":"init"}', retain=True)
        command.wait_for_publish(WAIT_S)
        self.start(self.device)
        return Absence(
            queued=self.answers("dev", ids, self.keeps("queued")),
            desired=_seen(lambda: "desired state" in self.device.log()),
            command=bool(self.console.wait("maas/dev/cmd/update/away", _is_done)),
        )

    @cached_property
    def killed(self) -> bool:
        """The device is killed while it holds inputs, and comes back; whether they are answered."""
        ids = self.ids(HELD)
        worker = self.hold(ids)
        self.device.kill()
        os.kill(worker, signal.SIGCONT)
        self.console.wait("maas/dev/status", lambda status: status.get("status") == "offline")
        self.start(self.device)
        return self.answers("dev", ids, self.keeps("held"))

    @cached_property
    def restarted(self) -> "Cut":
        """The broker is restarted as its service manager would."""
        return self._cut("restart", self.server.stop)

    @cached_property
    def crashed(self) -> "Cut":
        """The broker is killed and started again."""
        return self._cut("crash", self.server.kill)

    def _cut(self, name: str, end: Callable[[], None]) -> "Cut":
        marker = f"maas/marker/{name}"
        self.console.publish(marker, b'{"marker":1}', retain=True).wait_for_publish(WAIT_S)
        self.start(self.away)  # so that the broker has its session
        assert self.away.stop() == 0
        queued, held = self.ids(QUEUED), self.ids(HELD)
        worker = self.hold(held)
        self.send("away", queued)
        wait_until(lambda: self.server.has_queued(f"maas/away/digits/in/{queued[-1]}"), "the inputs are not saved")
        wait_until(lambda: self.server.has_retained(marker), "the retained message is not saved")
        connections = self.device.connections
        end()
        self.server.start()
        self.wait_connected(self.device, connections)
        self._console_is_back()
        os.kill(worker, signal.SIGCONT)
        answered = self.answers("dev", held, self.keeps(f"{name}_held"))
        self.start(self.away)
        cut = Cut(
            held=answered,
            queued=self.answers("away", queued, self.keeps(f"{name}_queued")),
            retained=b"marker" in b"".join(self.retained(marker, beside=marker)),
        )
        assert self.away.stop() == 0
        return cut

    def _console_is_back(self) -> None:
        """paho sends this after its reconnect and its subscription."""
        topic = f"maas/echo/{self.ids()[0]}"
        self.console.publish(topic, b"{}")
        self.console.wait(topic, seconds=60)

    def keeps(self, promise: str) -> bool:
        """Whether the broker is said to keep a promise."""
        return (self.kind.key, promise) not in DEVIATIONS


class Absence(NamedTuple):
    """Whether what came while the device was away was done when it was back."""

    queued: bool
    desired: bool
    command: bool


class Cut(NamedTuple):
    """Whether what was there before the broker's end is there after it."""

    held: bool
    queued: bool
    retained: bool


def _is_done(command: dict[str, Any]) -> bool:
    return command["status"] in ("successful", "failed")


def _seen(condition: Callable[[], object]) -> bool:
    wait_until(condition, "it is not logged")
    return True


def version(scene: Scene) -> bool:
    assert f"mqtt={scene.kind.mqtt} " in scene.device.log()
    return True


def credentials(scene: Scene) -> bool:
    intruder = scene.made("intruder", secret=scene.wrong)
    intruder.start()
    try:
        wait_until(lambda: CONNECTED in intruder.log() or REFUSED in intruder.log(), "neither refused nor connected")
        return REFUSED in intruder.log()
    finally:
        intruder.close()


def birth(scene: Scene) -> bool:
    for topic in ("maas/dev/status", "maas/dev/digits/state", "maas/dev/metrics"):
        scene.console.wait(topic)
    return True


def answers(scene: Scene) -> bool:
    for qos in (0, 1):
        name = f"qos-{qos}"
        scene.console.publish(f"maas/dev/digits/in/{name}", SAMPLE, qos)
        answer = scene.console.wait(f"maas/dev/digits/out/{name}").document
        assert answer["id"] == name
        assert len(answer["result"]["top"]) == 3
    return True


def bad_input(scene: Scene) -> bool:
    scene.console.publish("maas/dev/digits/in/bad", b"short")
    return bool(scene.console.wait("maas/dev/digits/out/bad").document["error"]["code"] == "wrong_shape")


def large(scene: Scene) -> bool:
    scene.console.publish("maas/dev/digits/in/large", bytes(8 << 20))
    return bool(scene.console.wait("maas/dev/digits/out/large").document["error"]["code"] == "too_large")


def dots(scene: Scene) -> bool:
    """From another client: NATS hangs up on it."""
    sender = scene.connected("dotted", ("maas/dev/digits/out/#",))
    sent = sender.publish("maas/dev/digits/in/a.b", SAMPLE)
    try:
        wait_until(lambda: sent.is_published() or not sender.is_connected, "it neither takes it nor hangs up")
        (after,) = scene.ids()
        scene.send("dev", [after])
        scene.console.wait(f"maas/dev/digits/out/{after}")
        return bool(scene.console.on("maas/dev/digits/out/a.b"))
    finally:
        sender.close()


def groups(scene: Scene) -> bool:
    scene.console.publish("maas/groups/line/digits/in/shared", SAMPLE)
    answer = "maas/groups/line/digits/out/shared"
    wait_until(lambda: scene.console.on(answer) or NOT_SHARED in scene.device.log(), "neither answered nor logged")
    assert scene.console.on(answer) or NOT_SHARED in scene.device.log()
    return bool(scene.console.on(answer)) and NOT_SHARED not in scene.device.log()


def commands(scene: Scene) -> bool:
    scene.console.publish("maas/dev/cmd/restart/1", b'{"status":"init","pipeline":"digits"}', retain=True)
    assert scene.console.wait("maas/dev/cmd/restart/1", _is_done).document["status"] == "successful"
    return b"successful" in b"".join(scene.retained("maas/dev/cmd/restart/1", beside="maas/dev/cmd/restart/1"))


def retained(scene: Scene) -> bool:
    return b"online" in b"".join(scene.retained("maas/dev/status", beside="maas/dev/status"))


def retained_wildcard(scene: Scene) -> bool:
    return b"online" in b"".join(scene.retained("maas/+/status", beside="maas/end/status"))


def offline(scene: Scene) -> bool:
    assert scene.killed is scene.keeps("held")  # and `offline` was seen on the way
    return True


def stopped(scene: Scene) -> bool:
    assert scene.absence  # and `stopped` was seen on the way
    return True


PLAYS: dict[str, Callable[[Scene], bool]] = {
    "version": version,
    "credentials": credentials,
    "birth": birth,
    "answers": answers,
    "bad_input": bad_input,
    "large": large,
    "dots": dots,
    "groups": groups,
    "commands": commands,
    "retained": retained,
    "retained_wildcard": retained_wildcard,
    "desired_away": lambda scene: scene.absence.desired,
    "command_away": lambda scene: scene.absence.command,
    "queued": lambda scene: scene.absence.queued,
    "stopped": stopped,
    "offline": offline,
    "held": lambda scene: scene.killed,
    "restart_held": lambda scene: scene.restarted.held,
    "restart_queued": lambda scene: scene.restarted.queued,
    "restart_retained": lambda scene: scene.restarted.retained,
    "crash_held": lambda scene: scene.crashed.held,
    "crash_queued": lambda scene: scene.crashed.queued,
    "crash_retained": lambda scene: scene.crashed.retained,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_broker_keeps_its_promises_and_no_others(kind: Kind, tmp_path: Path) -> None:
    with closing(Scene(kind, tmp_path)) as scene:
        scene.open()
        play_all({promise: partial(_holds_to_the_matrix, scene, promise) for promise in PROMISES})


def _holds_to_the_matrix(scene: Scene, promise: str) -> None:
    kept = PLAYS[promise](scene)
    assert kept is scene.keeps(promise), f"{scene.kind.title}, {PROMISES[promise]}: {'kept' if kept else 'not kept'}"


def test_every_promise_is_played() -> None:
    assert set(PLAYS) == set(PROMISES)
