"""RabbitMQ with its MQTT plugin: one node, or a cluster of three; nothing of it outlives the test, epmd included."""

import subprocess
from pathlib import Path

from tests.ports import free_port
from tests.system.servers import Server, filled, installed

# Few threads, none of them waiting actively: Erlang takes all processors for itself otherwise. No terminal.
_ERLANG = "+S 1:1 +SDio 1 +A 1 +sbwt none +sbwtdcpu none +sbwtdio none -noinput"


class Epmd(Server):
    """Erlang's port mapper in the foreground: the one that nodes start by themselves would stay for ever."""

    @property
    def command(self) -> list[str]:
        return [installed("epmd"), "-port", str(self.port), "-address", "127.0.0.1"]


class RabbitMQ(Server):
    """A node as examples/brokers/rabbitmq.conf has it; of a cluster if it is told the names of all nodes."""

    START_S = 300.0

    def __init__(self, folder: Path, epmd: Epmd, name: str = "rabbit", nodes: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self._program = installed("rabbitmq-server")
        self._name, self._epmd, self._distribution = name, epmd, free_port()
        # Nodes of one cluster share a cookie.
        cookie = folder / ".erlang.cookie"
        cookie.write_text("for-tests-only")
        cookie.chmod(0o600)
        config = filled("rabbitmq.conf", {"tcp.default = 1883": f"tcp.default = 127.0.0.1:{self.port}"})
        if nodes:
            places = {f"rabbit@broker-{number}": f"{node}@localhost" for number, node in enumerate(nodes, 1)}
            config += filled("rabbitmq-cluster.conf", places)
        (folder / "rabbitmq.conf").write_text(config)
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")

    @property
    def command(self) -> list[str]:
        return [self._program]

    @property
    def environment(self) -> dict[str, str]:
        files = {
            "RABBITMQ_CONFIG_FILE": "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "data",
            "RABBITMQ_MNESIA_DIR": f"data/{self._name}",
            "RABBITMQ_FEATURE_FLAGS_FILE": "feature_flags",
            "RABBITMQ_LOG_BASE": "log",
            "RABBITMQ_PID_FILE": "pid",
        }
        return {name: str(self.folder / file) for name, file in files.items()} | {
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd.port),
            "RABBITMQ_NODENAME": f"{self._name}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            # The script becomes the node, instead of a parent that a signal would not reach.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        }

    def has_retained(self, topic: str) -> bool:
        # Queues are written before the sender hears of it; these are not.
        stores = (self.folder / "data" / self._name).glob("mqtt_retained_*.dets")
        return any(topic.encode() in store.read_bytes() for store in stores)

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` answers."""
        command = [installed("rabbitmqctl"), "--node", f"{self._name}@localhost", *arguments]
        return subprocess.run(
            command, env=self.environment | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
        ).stdout


class SingleRabbitMQ(RabbitMQ):
    """One node with a port mapper of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Epmd(folder / "epmd"))

    def launch(self) -> None:
        if not self._epmd.is_running:
            self._epmd.start()
        super().launch()

    def close(self) -> None:
        super().close()
        self._epmd.kill()


class Cluster:
    """Three nodes on one machine."""

    NAMES = ("one", "two", "three")

    def __init__(self, folder: Path) -> None:
        self._epmd = Epmd(folder / "epmd")
        self.nodes = [RabbitMQ(folder / name, self._epmd, name, self.NAMES) for name in self.NAMES]

    def start(self) -> None:
        """Start the nodes one after another: docs/brokers.md says what may happen otherwise."""
        self._epmd.start()
        for node in self.nodes:
            node.start()

    def close(self) -> None:
        """End it, at the end of a test."""
        for node in self.nodes:
            node.close()
        self._epmd.close()
