"""Start and end: no broker, wrong configuration, a second agent, the service manager."""

import json
import os
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bundles import make_bundle, samples
from tests.system.brokers import Mosquitto
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import WAIT_S, Device, wait_until

SAMPLE = samples(1)[0].tobytes()


def agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maas_agent", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_an_agent_without_a_broker_starts_and_serves_when_it_comes(
    make_device: MakeDevice, bundle: Path, broker: Mosquitto
) -> None:
    broker.stop()
    device = make_device(LOCAL.format(bundle=bundle))
    device.start()
    wait_until(lambda: "bundle active" in device.log(), "it does not serve")
    wait_until(lambda: device.log().count("no connection to the broker") >= 2, "it does not retry")
    broker.start()
    console = Console(broker.port)
    console.wait("maas/dev/status", lambda status: status["status"] == "online")
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
    console.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[broker]\nulr = "mqtt://x"\n', ["line 2", "ulr", "url"]),
        ("metrics_s = 0\n", ["line 1", "metrics_s"]),
        ('[[pipeline]]\nname = "a"\nbundle = "b"\nwindow = 100000\n', ["line 4", "window", "1024"]),
        ('[[pipeline]]\nname = "a"\nbundle = "b"\n[pipeline.source]\ntype = "camra"\n', ["line 5", "camra", "command"]),
        ("[broker\n", ["TOML", "line 1"]),
        ('[broker]\nurl = "http://x"\n', ["line 2", "mqtt://"]),
        ('[broker]\nusername = "u"\npassword_file = "/no/such"\n', ["password_file", "/no/such"]),
    ],
)
def test_a_wrong_configuration_is_exit_78_with_key_and_line(tmp_path: Path, text: str, words: list[str]) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(text + (f'[store]\npath = "{tmp_path}/store"\n' if "password_file" in text else ""))
    result = agent("run", "--config", config)
    assert result.returncode == 78
    assert all(word in result.stderr for word in [*words, str(config) if "password" not in text else ""])
    assert "Traceback" not in result.stderr


def test_a_missing_configuration_is_exit_78(tmp_path: Path) -> None:
    result = agent("run", "--config", tmp_path / "none.toml")
    assert result.returncode == 78
    assert "none.toml" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_agents_do_not_share_a_store(serving: Device) -> None:
    result = agent("run", "--config", serving.config)
    assert result.returncode == 69
    assert "another maas-agent" in result.stderr


def test_status_shows_what_serves(serving: Device, console: Console) -> None:
    console.ask("dev", "digits", SAMPLE, "x")
    wait_until(lambda: agent("status", "--config", serving.config).returncode == 0, "status is not well")
    status = json.loads(agent("status", "--json", "--config", serving.config).stdout)
    assert status["connected"]
    (digits,) = status["pipelines"]
    assert (digits["active"]["version"], digits["counters"]["answered"]) == ("1.0.0", 1)
    assert "digits: serving, 1.0.0" in agent("status", "--config", serving.config).stdout


def test_status_without_an_agent_is_exit_69(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'[store]\npath = "{tmp_path}"\n')
    result = agent("status", "--config", config)
    assert result.returncode == 69
    assert "systemctl start maas-agent" in result.stderr


def test_check_passes_on_a_device_that_has_everything(make_device: MakeDevice, bundle: Path) -> None:
    device = make_device(LOCAL.format(bundle=bundle))
    result = agent("check", "--json", "--config", device.config)
    assert result.returncode == 0, result.stdout
    found = {finding["name"]: finding["found"] for finding in json.loads(result.stdout)}
    assert "MQTT 5" in found["broker"]


def test_check_says_what_is_missing_and_what_to_type(make_device: MakeDevice, broker: Mosquitto, bundle: Path) -> None:
    device = make_device(
        LOCAL.format(bundle=bundle), extra='[repository]\nurl = "http://127.0.0.1:9"\nroot = "/none"\n'
    )
    broker.stop()
    result = agent("check", "--config", device.config)
    assert result.returncode == 69
    lines = result.stdout.splitlines()
    failed = [line.split(":")[0] for line in lines if line.startswith("FAIL")]
    assert failed == ["FAIL broker", "FAIL repository root", "FAIL repository"]
    assert all(after.startswith("       -> ") for line, after in pairwise(lines) if line.startswith("FAIL"))


def test_infer_answers_files_and_says_which_it_cannot(tmp_path: Path, bundle: Path) -> None:
    good, bad = tmp_path / "good.raw", tmp_path / "bad.raw"
    good.write_bytes(SAMPLE)
    bad.write_bytes(b"xy")
    result = agent("infer", bundle, good, bad, "--json")
    assert result.returncode == 65
    answers = json.loads(result.stdout)
    assert answers[0]["result"]["label"]
    assert answers[1]["error"]["code"] == "wrong_shape"
    assert agent("infer", bundle, good).returncode == 0
    assert agent("infer", tmp_path / "none.maas", good).returncode == 66
    assert agent("infer", good, good).returncode == 65
    assert agent("infer").returncode == 64


class Systemd:
    """The receiving end of sd_notify(3): a datagram socket, as systemd makes one."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(folder / "notify")
        self._socket.bind(self.address)
        self._socket.settimeout(WAIT_S)
        self.heard: list[str] = []

    def wait(self, wanted: str) -> None:
        while True:
            self.heard.append(self._socket.recv(4096).decode())
            if self.heard[-1] == wanted:
                return

    def silent_for(self, seconds: float, wanted: str) -> bool:
        """Whether ``wanted`` stays away for so long; what was queued before does not count."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv(4096).decode() != wanted:
                pass
        except TimeoutError:
            return True
        return False


@pytest.mark.alone
def test_ready_is_said_when_the_first_pipeline_serves_and_the_watchdog_only_while_all_answer(
    make_device: MakeDevice, console: Console, tmp_path: Path
) -> None:
    systemd = Systemd(tmp_path)
    bundle = tmp_path / "later.maas"
    device = make_device(LOCAL.format(bundle=bundle) + "deadline_s = 0.4\n")
    device.start({"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "200000"})
    systemd.wait("WATCHDOG=1")
    assert "READY=1" not in systemd.heard
    make_bundle(bundle)
    console.publish("maas/dev/cmd/update/x", '{"status": "init"}')
    systemd.wait("READY=1")
    systemd.wait("WATCHDOG=1")
    os.kill(device.pid, signal.SIGSTOP)
    assert systemd.silent_for(1.0, "WATCHDOG=1")
    os.kill(device.pid, signal.SIGCONT)
    systemd.wait("WATCHDOG=1")
    device.stop()
    systemd.wait("STOPPING=1")


def test_log_lines_have_priorities_under_systemd(serving: Device, tmp_path: Path) -> None:
    serving.stop()
    serving.log_path.unlink()
    serving.start({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    wait_until(lambda: "bundle active" in serving.log() or "worker ready" in serving.log(), "it does not serve")
    assert all(line.startswith("<") and line[2] == ">" for line in serving.log().splitlines())
