"""A RabbitMQ cluster behind a load balancer: the node that a device is connected to dies under load."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.bundles import make_bundle, samples
from tests.system.balancer import Balancer
from tests.system.conftest import LOCAL
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.rabbitmq import Cluster
from tests.system.servers import PASSWORD, USER

SAMPLE = samples(1)[0].tobytes()
RATE = 50
"""Inputs a second."""
BETWEEN = 200
"""Inputs before a node is killed, and before it is started again."""
KILLS = int(os.environ.get("MAAS_KILLS", "1"))
PREFETCH = 256
"""``mqtt.prefetch`` in examples/brokers/rabbitmq.conf."""
CONNECTED = "connected to the broker"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    with closing(made):
        made.start()
        yield made


@pytest.fixture
def balancer(cluster: Cluster) -> Iterator[Balancer]:
    """Whose first choice is the first node."""
    with closing(Balancer([node.port for node in cluster.nodes])) as made:
        yield made


@pytest.fixture
def device(balancer: Balancer, tmp_path: Path) -> Iterator[Device]:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    bundle = make_bundle(tmp_path / "digits.maas", "digits", "1.0.0", seed=1)
    made = Device(tmp_path / "dev", f"mqtt://127.0.0.1:{balancer.port}", LOCAL.format(bundle=bundle))
    login = f'[broker]\nusername = "{USER}"\npassword_file = "{secret}"\n'
    made.config.write_text(made.config.read_text().replace("[broker]\n", login))
    with closing(made):
        made.start()
        wait_until(lambda: CONNECTED in made.log() and "bundle active" in made.log(), "no start", 60)
        yield made


@pytest.fixture
def console(cluster: Cluster) -> Iterator[Console]:
    """On the last node, which lives on."""
    with closing(Console(cluster.nodes[-1].port, user=(USER, PASSWORD), durable=True, subscribe="maas/#")) as made:
        yield made


class Load:
    """Numbered inputs of QoS 1, so many a second, as long as something is waited for."""

    def __init__(self, console: Console) -> None:
        self.sent = 0
        self._console = console

    def until(self, condition: Callable[[], object], what: str) -> float:
        """Send until ``condition`` holds; how long that took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() < begun + 120, f"sent for 120 s in vain: {what}"
            self._console.publish(f"maas/dev/digits/in/{self.sent}", SAMPLE)
            self.sent += 1
            time.sleep(1 / RATE)
        return time.monotonic() - begun

    def more(self, count: int) -> None:
        """Send ``count`` inputs."""
        end = self.sent + count
        self.until(lambda: self.sent >= end, "this always ends")


def test_no_input_is_lost_when_the_node_of_the_device_is_killed(
    cluster: Cluster, balancer: Balancer, device: Device, console: Console
) -> None:
    load, waits = Load(console), []
    for _ in range(KILLS):
        load.more(BETWEEN)
        place, connections = balancer.chosen[-1], device.log().count(CONNECTED)
        node = cluster.nodes[place]
        node.kill()
        waits.append(load.until(lambda: device.log().count(CONNECTED) > connections, "it does not come back"))  # noqa: B023
        assert balancer.chosen[-1] != place
        load.more(BETWEEN)
        node.launch()
        load.until(node.is_ready, "the node does not come back")
    for number in range(load.sent):
        assert "result" in console.wait(f"maas/dev/digits/out/{number}", seconds=60).document
    answers = Counter(message.topic for message in console.on("maas/dev/digits/out/"))
    duplicates = sum(answers.values()) - len(answers)
    print(
        f"\nRabbitMQ, 3 nodes, {KILLS} times the device's killed: {load.sent} inputs at up to {RATE}/s, 0 lost, "
        f"{duplicates} answered twice; connected again after {max(waits):.1f} s at most"
    )
    assert len(answers) == load.sent
    # What was on its way when a node died, at most: what the broker sends ahead.
    assert duplicates <= KILLS * PREFETCH


def test_retained_messages_stay_on_their_node(cluster: Cluster, console: Console) -> None:
    console.publish("maas/marker/node", b'{"marker":1}', retain=True).wait_for_publish(30)
    for node, is_there in ((cluster.nodes[-1], True), (cluster.nodes[1], False)):
        user = (USER, PASSWORD)
        with closing(Console(node.port, "reader", user=user, subscribe="maas/marker/node")) as reader:
            reader.publish("maas/marker/node", b'{"end":1}')
            reader.wait("maas/marker/node", lambda document: "end" in document)
            assert bool([message for message in reader.on("maas/") if "marker" in message.document]) is is_there
