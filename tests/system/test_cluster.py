"""A RabbitMQ cluster behind a load balancer: nodes die under load, and a fleet moves to it from Mosquitto."""

import os
import re
import subprocess
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from maas_agent.bundle.desired_state import DesiredModel, Document, encode_desired
from tests.bundles import make_bundle, samples
from tests.system.balancer import Balancer
from tests.system.conftest import LOCAL
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.plays import play_all
from tests.system.rabbitmq import Cluster
from tests.system.servers import PASSWORD, USER, DurableMosquitto, Server, installed

SAMPLE = samples(1)[0].tobytes()
RATE = 50
"""Inputs a second."""
BETWEEN = 200
"""Inputs before a node is killed, and before it is started again."""
KILLS = int(os.environ.get("MAAS_KILLS", "1"))
PREFETCH = 256
"""``mqtt.prefetch`` in examples/brokers/rabbitmq.conf."""
ANSWERS = "maas/gate-1/digits/out/"
CONNECTED = "connected to the broker"
WISH = Document(1, {"digits": DesiredModel(version="1.0.0")})
MakeDevice = Callable[[Balancer, str], Device]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster")
    with closing(made):
        made.start()
        yield made


@pytest.fixture
def make_device(tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes a device that knows the address of a balancer only, and serves."""
    opened = ExitStack()
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    bundle = make_bundle(tmp_path / "digits.maas", "digits", "1.0.0", seed=1)

    def make(balancer: Balancer, name: str) -> Device:
        url = f"mqtt://127.0.0.1:{balancer.port}"
        made = Device(tmp_path / name, url, LOCAL.format(bundle=bundle), device_id=name)
        login = f'[broker]\nusername = "{USER}"\npassword_file = "{secret}"\n'
        made.config.write_text(made.config.read_text().replace("[broker]\n", login))
        opened.callback(made.close)
        made.start()
        wait_until(lambda: CONNECTED in made.log() and "load_ms" in made.log(), "it does not serve", 60)
        return made

    with opened:
        yield make


def connected(server: Server, name: str, topics: str, *, durable: bool = False) -> Console:
    return Console(server.port, name, (topics,), user=(USER, PASSWORD), durable=durable)


class Load:
    """Numbered inputs of QoS 1, so many a second, as long as something is waited for."""

    def __init__(self, console: Console) -> None:
        self.sent = 0
        self._console = console

    def until(self, condition: Callable[[], object], what: str) -> float:
        """Send until ``condition`` holds; how long that took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() < begun + 300, f"sent for 300 s in vain: {what}"
            self._console.publish(f"maas/gate-1/digits/in/{self.sent}", SAMPLE)
            self.sent += 1
            time.sleep(1 / RATE)
        return time.monotonic() - begun

    def more(self, count: int) -> None:
        """Send ``count`` inputs."""
        end = self.sent + count
        self.until(lambda: self.sent >= end, "this always ends")


def test_a_cluster_loses_no_input_and_a_fleet_moves_to_it(
    cluster: Cluster, make_device: MakeDevice, tmp_path: Path
) -> None:
    with (
        # The first node is its first choice; who sends and listens is on the last one.
        closing(Balancer([node.port for node in cluster.nodes])) as balancer,
        closing(connected(cluster.nodes[-1], "console", "maas/#", durable=True)) as console,
    ):
        play_all(
            {
                "members": lambda: every_node_may_be_lost(cluster),
                "kills": lambda: no_input_is_lost_with_a_node(
                    cluster, balancer, make_device(balancer, "gate-1"), console
                ),
                "retained": lambda: retained_messages_stay_on_their_node(cluster, console),
                "move": lambda: a_device_moves_without_a_change(cluster, make_device, tmp_path),
            }
        )


def every_node_may_be_lost(cluster: Cluster) -> None:
    """Checked as docs/brokers.md says."""
    (check,) = re.findall(
        r"^ *rabbitmqctl eval '(.*)'$", section_of_the_page("### RabbitMQ, three nodes"), re.MULTILINE
    )
    for node in cluster.nodes:
        members = node.control("eval", check)
        assert all(f"{{mqtt_node,{name}@localhost}}" in members for name in cluster.NAMES), members


def no_input_is_lost_with_a_node(cluster: Cluster, balancer: Balancer, device: Device, console: Console) -> None:
    load, waits = Load(console), []
    for _ in range(KILLS):
        load.more(BETWEEN)
        place, connections = balancer.chosen[-1], device.connections
        node = cluster.nodes[place]
        node.kill()
        waits.append(load.until(lambda: device.connections > connections, "it does not come back"))  # noqa: B023
        assert balancer.chosen[-1] != place
        load.more(BETWEEN)
        node.launch()
        load.until(node.is_ready, "the node does not come back")

    def answers() -> Counter[str]:
        return Counter(message.topic for message in console.on(ANSWERS) if "result" in message.document)

    wait_until(lambda: len(answers()) == load.sent, "an input has no answer", 120)
    duplicates = answers().total() - load.sent
    print(
        f"\nRabbitMQ, 3 nodes, {KILLS} times the device's killed: {load.sent} inputs at up to {RATE}/s, 0 lost, "
        f"{duplicates} answered twice; connected again after {max(waits):.1f} s at most"
    )
    # What was on its way when a node died, at most: what the broker sends ahead.
    assert duplicates <= KILLS * PREFETCH


def retained_messages_stay_on_their_node(cluster: Cluster, console: Console) -> None:
    console.publish("maas/marker/node", b'{"marker":1}', retain=True).wait_for_publish(30)
    for node, is_there in ((cluster.nodes[-1], True), (cluster.nodes[1], False)):
        with closing(connected(node, "reader", "maas/marker/node")) as reader:
            reader.publish("maas/marker/node", b'{"end":1}')
            reader.wait("maas/marker/node", lambda document: "end" in document)
            assert bool([message for message in reader.on("maas/") if "marker" in message.document]) is is_there


def a_device_moves_without_a_change(cluster: Cluster, make_device: MakeDevice, tmp_path: Path) -> None:
    """The steps of docs/brokers.md, with its own commands."""
    old = DurableMosquitto(tmp_path / "old")
    with ExitStack() as opened:
        opened.callback(old.close)
        old.start()
        balancer = opened.enter_context(closing(Balancer([old.port])))
        before = opened.enter_context(closing(connected(old, "before", "maas/#")))
        device = make_device(balancer, "gate-2")
        assert "mqtt=5 " in device.log()
        before.publish("maas/gate-2/desired", encode_desired(WISH), retain=True).wait_for_publish(30)
        assert "result" in before.ask("gate-2", "digits", SAMPLE, "old")
        # (2) and (3): desired states to every node, sessions before their devices.
        copy, prepare = commands_of_the_page()
        for node in cluster.nodes:
            run(copy, old, node)
        run(prepare, old, cluster.nodes[0])
        # (4) Senders send to the cluster.
        after = opened.enter_context(closing(connected(cluster.nodes[-1], "after", "maas/#", durable=True)))
        for number in range(20):
            after.publish(f"maas/gate-2/digits/in/{number}", SAMPLE).wait_for_publish(30)
        # (5) The name points elsewhere, and the old broker ends.
        balancer.backends = [node.port for node in cluster.nodes]
        old.stop()
        # (6) The device comes, with another MQTT version.
        for number in range(20):
            assert "result" in after.wait(f"maas/gate-2/digits/out/{number}", seconds=60).document
        assert "mqtt=3.1.1 " in device.log()
        after.wait("maas/gate-2/status", lambda status: status["status"] == "online")
        for node in cluster.nodes:
            with closing(connected(node, "reader", "maas/gate-2/desired")) as reader:
                assert reader.wait("maas/gate-2/desired").document["serial"] == WISH.serial
        assert device.log().count("starting") == 1


def commands_of_the_page() -> list[str]:
    """The shell commands of the section that says how to move, in order."""
    blocks = re.findall(
        r"^ *```\n(.*?)^ *```", section_of_the_page("### Moving, step by step"), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(block) for block in blocks]


def section_of_the_page(heading: str) -> str:
    """What docs/brokers.md says below ``heading``."""
    return (Path(__file__).parents[2] / "docs" / "brokers.md").read_text().split(heading)[1].split("\n### ")[0]


def run(command: str, old: Server, node: Server) -> None:
    """A command of the page, its hosts and its device replaced."""
    assert installed("mosquitto_sub")
    for host, server in (("old", old), ("node-1", node)):
        command = command.replace(f"-h {host} ", f"-h 127.0.0.1 -p {server.port} -u {USER} -P {PASSWORD} ")
    # -W: so long it waits for more.
    command = command.replace("gate-1", "gate-2").replace("-W 5", "-W 1")
    subprocess.run(["bash", "-euc", command], check=True, timeout=60)
