"""Staged rollouts over many devices, led by the command a person types; the devices are the hub's control planes."""

import getpass
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.control_planes import GROUP, REASON, names
from maas_agent.base.documents import rfc3339
from maas_agent.bundle.desired_state import position
from tests.system.brokers import Mosquitto
from tests.system.conftest import MakeDevice
from tests.system.console import Console, Message
from tests.system.device import wait_until
from tests.system.repositories import Repository

COUNT = 30
DESIRED = f"maas/groups/{GROUP}/desired"
Devices = Callable[..., None]


@pytest.fixture
def devices(broker: Mosquitto, tmp_path: Path) -> Iterator[Devices]:
    """Starts the simulated devices, some of them bad, and waits until all are connected."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*bad: str, count: int = COUNT) -> None:
        command = [sys.executable, "-m", "bench.control_planes", broker.url, str(tmp_path / "devices"), str(count)]
        process = subprocess.Popen([*command, ",".join(bad)] if bad else command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


class Deploy:
    """``maas-converter deploy digits==1.1.0`` against the broker of the test."""

    def __init__(self, broker: Mosquitto) -> None:
        self._url = broker.url
        self._started: list[subprocess.Popen[str]] = []

    def command(self, *options: str, version: str = "1.1.0", whom: tuple[str, ...] = ("--group", GROUP)) -> list[str]:
        call = [sys.executable, "-m", "maas_converter", "deploy", f"digits=={version}", *whom, "--broker", self._url]
        return [*call, *options]

    def run(self, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        call = self.command(*options, **more)
        return subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)

    def start(self, *options: str, **more: Any) -> subprocess.Popen[str]:
        call = self.command(*options, **more)
        process = subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def end(self) -> None:
        """Leave nobody behind, however the test went."""
        for process in self._started:
            with process:
                process.kill()


@pytest.fixture
def deploy(broker: Mosquitto) -> Iterator[Deploy]:
    made = Deploy(broker)
    yield made
    made.end()


def rollout(console: Console) -> dict[str, Any]:
    document: dict[str, Any] = console.wait(DESIRED).document["models"]["digits"]
    return document


def runs(console: Console, version: str) -> set[str]:
    """The devices that run the version, by the newest word of each."""
    newest = {message.topic.split("/")[1]: message.document for message in states(console)}
    return {device for device, state in newest.items() if state["active"]["version"] == version}


def states(console: Console) -> list[Message]:
    return [message for message in console.on("maas/device-") if message.topic.endswith("/state") and message.payload]


STAGES = ("--stages", "20%,50%,100%")


def test_a_rollout_goes_through_stage_by_stage_and_nobody_is_early(
    devices: Devices, deploy: Deploy, console: Console
) -> None:
    devices()
    done = deploy.run(*STAGES, "--soak", "0.3s", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["rollout"]["state"], len(document["progress"]["done"])) == ("done", COUNT)
    wait_until(lambda: runs(console, "1.1.0") == set(names(COUNT)), "not all of them run it")
    salt = document["rollout"]["id"]
    told = [(message.topic.split("/")[1], message.document["update"]) for message in states(console)]
    for low, high in ((20, 50), (50, 100)):
        early = {name for name in names(COUNT) if position(salt, name) < low}
        late = {name for name in names(COUNT) if low <= position(salt, name) < high}
        began = [at for at, (name, update) in enumerate(told) if name in late and update["version"] == "1.1.0"]
        assert max(at for at, (name, _) in enumerate(told) if name in early) < min(began)
    assert "stage 2 of 3 (50 %) soaking" in done.stderr


def test_it_stops_by_itself_when_too_many_fail_and_is_taken_back_on_demand(
    devices: Devices, deploy: Deploy, console: Console
) -> None:
    bad = names(COUNT)[::3]
    devices(*bad)
    stopped = deploy.run(*STAGES, "--soak", "0.2s", "--max-failures", "10%")
    assert stopped.returncode == 1
    assert "allowed are 10 %" in stopped.stderr and f"failed: {REASON}" in stopped.stderr
    salt = rollout(console)["salt"]
    reached = {name for name in names(COUNT) if position(salt, name) < rollout(console)["percent"]}
    assert reached < set(names(COUNT))
    wait_until(lambda: runs(console, "1.1.0") == reached - set(bad), "other devices run it")
    status = json.loads(deploy.run("--status", "--json").stdout)
    assert status["rollout"]["state"] == "stopped" and set(status["progress"]["failed"]) == reached & set(bad)
    again = deploy.run(*STAGES, version="1.2.0", whom=("--group", "nobody"))
    assert again.returncode == 65 and "no device of group nobody runs digits" in again.stderr
    back = deploy.run("--rollback")
    assert back.returncode == 0
    wait_until(lambda: runs(console, "1.1.0") == set(), "somebody still runs it")
    # A withdrawn version is not taken again, by those that had it; the next one is.
    assert deploy.run("--soak", "0s", "--max-failures", "50%", version="1.2.0").returncode == 0
    wait_until(lambda: runs(console, "1.2.0") == set(names(COUNT)) - set(bad), "the next version is not taken")


def test_on_failure_rollback_takes_it_back_by_itself(devices: Devices, deploy: Deploy, console: Console) -> None:
    devices(*names(COUNT)[::2])
    stopped = deploy.run(*STAGES, "--soak", "0s", "--on-failure", "rollback", "--json")
    assert stopped.returncode == 1 and json.loads(stopped.stdout)["rollout"]["state"] == "rolled_back"
    wait_until(lambda: runs(console, "1.0.0") == set(names(COUNT)), "somebody still runs it")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_rollout_survives_its_operator(
    devices: Devices, deploy: Deploy, console: Console, sent: signal.Signals
) -> None:
    devices()
    leading = deploy.start(*STAGES, "--soak", "1h")
    console.wait(DESIRED, lambda d: d["models"]["digits"]["rollout"]["soaking"])
    leading.send_signal(sent)
    _, said = leading.communicate(timeout=30)
    assert leading.returncode == (130 if sent == signal.SIGINT else -9)
    if sent == signal.SIGINT:
        assert f"go on with: maas-converter deploy digits==1.1.0 --group {GROUP}" in said and "Traceback" not in said
    status = json.loads(deploy.run("--status", "--json").stdout)
    assert (status["rollout"]["state"], status["rollout"]["stage"]) == ("running", 0)
    other = deploy.run(*STAGES, version="1.2.0")
    assert other.returncode == 65 and "--resume, --abort or --rollback that first" in other.stderr
    # The next operator leads it on. It soaks for as long as it was begun with: so this one is patient, and aborts.
    again = deploy.start("--resume")
    assert again.stderr is not None and "soaking" in again.stderr.readline()
    assert deploy.run("--abort").returncode == 0
    _, said = again.communicate(timeout=30)
    assert again.returncode == 1 and "the operator aborted it" in said
    assert rollout(console)["rollout"]["state"] == "aborted"


def test_whoever_resumes_a_rollout_that_is_led_leads_it_from_then_on(
    devices: Devices, deploy: Deploy, console: Console
) -> None:
    devices(count=3)
    first = deploy.start("--soak", "1h")
    console.wait(DESIRED, lambda d: d["models"]["digits"]["rollout"]["soaking"])
    leader = rollout(console)["rollout"]["leader"]
    second = deploy.start("--resume")
    _, said = first.communicate(timeout=30)
    assert first.returncode == 69 and "somebody else leads the rollout of digits now" in said
    assert rollout(console)["rollout"]["leader"] != leader
    # The desired state of the group has room for others: what is said there of another model is nobody's takeover.
    document = console.wait(DESIRED).document
    document["models"]["faces"] = {"version": "2.0.0"}
    console.publish(DESIRED, json.dumps({**document, "serial": document["serial"] + 1}), retain=True)
    console.wait(DESIRED, lambda d: "faces" in d["models"])
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=30)
    assert second.returncode == 130
    assert deploy.run("--rollback").returncode == 0
    console.wait(DESIRED, lambda d: d["models"]["digits"].get("withdrawn") == ["1.1.0"])
    assert console.wait(DESIRED).document["models"]["faces"] == {"version": "2.0.0"}


def test_a_device_that_joins_midway_is_waited_for_and_one_that_goes_silent_on_trial_stops_it(
    devices: Devices, deploy: Deploy, console: Console
) -> None:
    devices(count=3)
    leading = deploy.start("--soak", "1h")
    console.wait(DESIRED, lambda d: d["models"]["digits"]["rollout"]["soaking"])
    console.forget()
    late = {"pipeline": "digits", "model": "digits", "serving": True, "active": {"version": "1.0.0"}}
    console.publish("maas/late/digits/state", json.dumps(late), retain=True)
    console.publish("maas/late/status", json.dumps({"status": "online", "groups": [GROUP]}), retain=True)
    console.wait(DESIRED, lambda d: d["models"]["digits"]["rollout"]["soaking"] is None)
    trying = {**late, "candidate": {"version": "1.1.0"}, "update": {"state": "probation", "version": "1.1.0"}}
    console.publish("maas/late/digits/state", json.dumps(trying), retain=True)
    console.publish("maas/late/status", json.dumps({"status": "offline", "groups": [GROUP]}), retain=True)
    _, said = leading.communicate(timeout=30)
    assert leading.returncode == 1 and "late: went offline while it tried 1.1.0 (probation)" in said, said


def test_a_rollout_that_was_stopped_goes_on_where_it_was(devices: Devices, deploy: Deploy, console: Console) -> None:
    devices()
    # The one who aborts is a process that has to start: two stages must not be over by then.
    leading = deploy.start(*STAGES, "--soak", "5s", "--patience", "30s")
    console.wait(DESIRED, lambda d: d["models"]["digits"]["rollout"]["stage"] == 0)
    assert deploy.run("--abort").returncode == 0
    leading.communicate(timeout=60)
    assert runs(console, "1.1.0") < set(names(COUNT))
    resumed = deploy.run("--resume")
    assert resumed.returncode == 0, resumed.stderr
    wait_until(lambda: runs(console, "1.1.0") == set(names(COUNT)), "not all of them run it")


def test_devices_that_are_offline_are_listed_and_get_it_later(
    devices: Devices, deploy: Deploy, console: Console
) -> None:
    devices(count=5)
    gone = {"status": "offline", "device": "gone", "groups": [GROUP]}
    state = {"pipeline": "digits", "model": "digits", "serving": True, "active": {"version": "1.0.0"}}
    console.publish("maas/gone/status", json.dumps(gone), retain=True)
    console.publish("maas/gone/digits/state", json.dumps(state), retain=True)
    done = deploy.run("--soak", "0s")
    assert done.returncode == 0 and "offline, get it when they are back: gone" in done.stderr


def test_one_device_and_a_restart_of_the_broker_in_between(
    devices: Devices, deploy: Deploy, broker: Mosquitto, console: Console
) -> None:
    devices(count=3)
    one = ("--device", "device-0001")
    leading = deploy.start("--soak", "3s", whom=one)
    console.wait("maas/device-0001/desired", lambda d: d["models"]["digits"]["rollout"]["soaking"])
    broker.stop()
    broker.start()
    _, said = leading.communicate(timeout=90)
    assert leading.returncode == 0, said
    assert "1 of 1 devices run it" in said
    assert runs(console, "1.1.0") == {"device-0001"}


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--stages", "50%,20%"), 64, "percentages that rise, to 100% at last"),
        (("--stages", "x"), 64, "a percentage, as in 5%"),
        (("--soak", "10"), 64, "a number and s, m, h or d"),
        (("--max-failures", "200%"), 64, "a percentage, as in 5%"),
        (("--on-failure", "pray"), 64, "stop or rollback"),
        (("--device", "x"), 64, "name either --group or --device"),
        (("--resume", "--abort"), 64, "one at a time"),
        (("--resume",), 64, "no rollout of digits to group all is known to the broker"),
        ((), 65, "no device of group all runs digits; 0 devices are known"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(deploy: Deploy, options: tuple[str, ...], code: int, reason: str) -> None:
    done = deploy.run(*options)
    assert (done.returncode, reason in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


def test_a_broker_that_is_not_there_is_a_sentence(deploy: Deploy, broker: Mosquitto, tmp_path: Path) -> None:
    nobody = [sys.executable, "-m", "maas_converter", "fleet", "--broker", "mqtt://127.0.0.1:1"]
    done = subprocess.run(nobody, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Connection refused" in done.stderr) == (69, True)
    done = subprocess.run([*nobody[:-1], "http://x"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "write mqtt://HOST" in done.stderr) == (64, True)
    done = deploy.run("--username", "me", "--password-file", str(tmp_path / "none"))
    assert (done.returncode, "--password-file" in done.stderr) == (66, True)


def test_a_broker_that_wants_another_password_says_so(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    # The digest of some other password: whatever is typed, it is not that one.
    (tmp_path / "users").write_text(f"me:$7$101${'A' * 16}${'A' * 86}==\n")
    guarded = Mosquitto(tmp_path, options=f"user {getpass.getuser()}\npassword_file {tmp_path}/users")
    guarded.start()
    try:
        done = Deploy(guarded).run("--username", "me", "--password-file", str(secret))
        assert (done.returncode, "Traceback" in done.stderr) == (69, False)
        assert "the broker refuses the connection: Not authorized" in done.stderr
    finally:
        guarded.stop()


def test_the_fleet_is_listed_with_what_a_real_device_says(
    make_device: MakeDevice, broker: Mosquitto, console: Console, tmp_path: Path
) -> None:
    repository = Repository(tmp_path)
    try:
        repository.publish("digits", "1.0.0", seed=1)
        pipeline = '[[pipeline]]\nname = "gate"\nmodel = "digits"\n'
        device = make_device(pipeline, extra=repository.settings)
        device.config.write_text(device.config.read_text().replace('id = "dev"', 'id = "dev"\ngroups = ["line"]'))
        device.start()
        console.wait("maas/dev/gate/state", lambda state: state["serving"])
        console.ask("dev", "gate", bytes(64), "1")
        call = [sys.executable, "-m", "maas_converter", "fleet", "--broker", broker.url, "--group", "line"]
        listed = subprocess.run(
            [*call, "--wait", "1.5s", "--json"], capture_output=True, text=True, timeout=60, check=True
        )
        (found,) = json.loads(listed.stdout)
        assert (found["id"], found["status"], found["groups"]) == ("dev", "online", ["line"])
        assert found["seen"][:10] == rfc3339(time.time())[:10]
        running = found["running"]["gate"]
        assert (running["model"], running["active"], running["accelerator"]) == ("digits", "1.0.0", "cpu")
        shown = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True).stderr
        assert "digits 1.0.0" in shown and "online" in shown
        # And a rollout by which the repository does not stand does not make the device run anything.
        deploy = Deploy(broker)
        failed = deploy.run("--soak", "0s", version="6.6.6", whom=("--group", "line"))
        assert failed.returncode == 1 and "6.6.6 is wanted, but the repository does not offer it" in failed.stderr
        assert console.ask("dev", "gate", bytes(64), "2")["version"] == "1.0.0"
    finally:
        repository.close()
