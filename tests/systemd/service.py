"""The agent as a service in a container: installed by the README's own lines, asked by systemctl and journalctl."""

import json
import re
from collections.abc import Callable
from typing import Any

from tests.docs.pages import text
from tests.system.accounts import EXAMPLE, Visitor
from tests.system.device import wait_until
from tests.system.repositories import Repository
from tests.systemd.container import Container

UNIT = "maas-agent.service"
SHARED = "/opt/maas-edge/share/maas-edge/systemd"
PASSWORD = "secret of gate-1"
NAMES = {"gate-1": PASSWORD, "operator": "operator", "press-7": "press-7"}
WAIT_S = 60.0
_CONFIGURED = """
[device]
id = "gate-1"
groups = ["line-2"]
[broker]
url = "mqtt://127.0.0.1:1883"
username = "gate-1"
password_file = "/run/credentials/maas-agent.service/mqtt-password"
reconnect_max_s = 1.0
[repository]
url = "{url}"
root = "/etc/maas-agent/root.json"
[[pipeline]]
name = "digits"
model = "digits"
"""


class Service:
    """``maas-agent.service`` of the device gate-1, and its broker, in a container."""

    def __init__(self, container: Container, repository: Repository) -> None:
        self.container, self.repository = container, repository
        self._cursor = ""

    def install(self) -> None:
        """What the README and the page on security say, in their order."""
        self._guard_broker()
        lines = lines_around("README.md", "systemd-sysusers")
        # What comes before has made the environment, and the tree has that.
        self.container.script(lines[lines.index(f"cd {SHARED}\n") :])
        self.container.write("/etc/maas-agent/root.json", self.repository.root.read_text())
        self.container.write("/etc/credstore/maas-agent.mqtt-password", f"{PASSWORD}\n", 0o600)
        self.container.script("systemctl daemon-reload")

    def _guard_broker(self) -> None:
        for file in EXAMPLE.iterdir():
            self.container.write(f"/root/examples/mosquitto/{file.name}", file.read_text())
        lines = lines_around("docs/security.md", "mosquitto_passwd -b").replace(
            "gate-1 PASSWORD", f"gate-1 '{PASSWORD}'"
        )
        for name, password in NAMES.items():
            lines += f"mosquitto_passwd -b /etc/mosquitto/maas.passwd {name} '{password}'\n"
        self.container.script(f"cd /root\n{lines}systemctl restart mosquitto")

    def configure(self, more: str = "", settings: str = "") -> None:
        """Write ``agent.toml``: ``more`` pipelines, and a drop-in of ``settings`` for the unit."""
        self.container.write("/etc/maas-agent/agent.toml", _CONFIGURED.format(url=self.repository.url) + more)
        if settings:
            self.drop_in("test.conf", f"[Service]\n{settings}\n")

    def drop_in(self, name: str, content: str) -> None:
        """Add a drop-in to the unit."""
        self.container.write(f"/etc/systemd/system/{UNIT}.d/{name}", content)
        self.container.script("systemctl daemon-reload")

    def restore(self) -> None:
        """The broker runs, and the unit has no drop-ins."""
        self.container.script(
            f"rm -rf /etc/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl start mosquitto"
        )
        self.stop()

    def start(self) -> None:
        """Returns when the first pipeline serves, as ``systemctl start`` does."""
        self.container.run("systemctl", "start", UNIT)

    def stop(self) -> None:
        """Drain and end; returns when that is done."""
        self.container.run("systemctl", "stop", UNIT)

    def show(self, name: str) -> str:
        """A property, as ``systemctl show`` has it."""
        return self.container.run("systemctl", "show", "--value", "-p", name, UNIT).strip()

    def wait_for(self, name: str, wanted: Callable[[str], object]) -> None:
        """Wait until a property is as it should be."""
        wait_until(lambda: wanted(self.show(name)), f"{name} stays {self.show(name)}", WAIT_S)

    @property
    def main_pid(self) -> int:
        """The hub's process id inside."""
        return int(self.show("MainPID"))

    def processes(self) -> dict[int, str]:
        """The command lines of all processes of the service, by their ids inside."""
        group = self.show("ControlGroup")
        pids = self.container.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs").split()
        lines = (self.container.run("sh", "-c", f"tr '\\0' ' ' </proc/{pid}/cmdline || true") for pid in pids)
        return dict(zip(map(int, pids), lines, strict=True))

    def worker_pid(self, pipeline_count: int = 1) -> int:
        """The only worker's process id inside."""
        workers = [pid for pid, line in self.processes().items() if "maas_agent.worker" in line]
        assert len(workers) == pipeline_count, self.processes()
        return workers[0]

    def received(self) -> int:
        """How many inputs its first pipeline has taken since the start."""
        status = json.loads(self.container.run("/opt/maas-edge/bin/maas-agent", "status", "--json"))
        return int(status["pipelines"][0]["counters"]["received"])

    def journal(self, *options: str) -> list[dict[str, Any]]:
        """What the service has logged since `forget`, as journald has it."""
        since = ["--after-cursor", self._cursor] if self._cursor else []
        command = ["journalctl", "--unit", UNIT, "--output", "json", "--no-pager", *since, *options]
        return [json.loads(line) for line in self.container.run(*command).splitlines()]

    def forget(self) -> None:
        """What was logged until now does not count any more."""
        self.container.run("journalctl", "--sync")
        said = self.container.run("journalctl", "--show-cursor", "--lines", "1", "--output", "cat", "--no-pager")
        (self._cursor,) = re.findall(r"^-- cursor: (.*)$", said, re.MULTILINE)

    def has_logged(self, words: str) -> bool:
        """Whether a line since `forget` holds ``words``."""
        return any(words in str(entry["MESSAGE"]) for entry in self.journal())

    def visitor(self, name: str) -> Visitor:
        """Somebody with an account, connected inside."""
        with self.container.network():
            return Visitor(name, 1884, password=NAMES[name])


def lines_around(page: str, words: str) -> str:
    """The lines of a page's only block of commands that holds ``words``, without ``sudo``: here everybody is root."""
    blocks = re.findall(r"^```\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if words in block]
    return str(block.replace("sudo ", ""))
