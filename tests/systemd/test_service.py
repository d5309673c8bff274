"""The service under a real systemd: installed as the README says, started, watched, starved, stopped."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.docs.test_unit import DROP_INS, UNIT, lines
from tests.system.accounts import Visitor
from tests.system.device import wait_until
from tests.systemd.service import PASSWORD, SHARED, WAIT_S, Service

STATE = "/var/lib/maas-agent"
ATTEMPTS = Path(__file__).parent / "attempts.py"
PROGRAM = "/usr/local/bin/attempts"
SENSOR = f"""
[[pipeline]]
name = "sensor"
model = "digits"
[pipeline.source]
type = "command"
command = ["{PROGRAM}"]
"""


@pytest.fixture
def sample(digits: Path) -> bytes:
    """A digit that the model has never seen."""
    return bytes(np.load(digits / "heldout.npz")["x"][0].tobytes())


@pytest.fixture
def program(service: Service) -> Iterator[Visitor]:
    """A program that may ask the device, connected and listening for answers."""
    visitor = service.visitor("press-7")
    visitor.subscribe("maas/gate-1/digits/out/#")
    yield visitor
    visitor.close()


@pytest.fixture
def operator(service: Service) -> Iterator[Visitor]:
    visitor = service.visitor("operator")
    visitor.subscribe("maas/#")
    yield visitor
    visitor.close()


def test_the_readmes_lines_make_the_user_and_its_folders(installed: Service) -> None:
    run = installed.container.run
    assert run("stat", "-c", "%U:%G %a", STATE).strip() == "maas-agent:maas-agent 750"
    assert run("stat", "-c", "%U:%G %a", "/etc/maas-agent", "/etc/credstore").split("\n")[:2] == [
        "root:root 755",
        "root:root 700",
    ]
    assert run("getent", "passwd", "maas-agent").strip().endswith("/usr/sbin/nologin")


def test_a_bundle_is_pulled_and_heldout_digits_are_recognized(service: Service, program: Visitor, digits: Path) -> None:
    heldout = np.load(digits / "heldout.npz")
    pictures, labels = heldout["x"][:100], heldout["y"][:100]
    right = 0
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        assert program.may_publish(f"maas/gate-1/digits/in/{number}", picture.tobytes())
        answer = program.wait(f"maas/gate-1/digits/out/{number}").document
        right += answer["result"]["label"] == str(label)
    assert answer["version"] == "1.0.0"
    assert right >= 75, "the README's example has 87 % after as many epochs"


def test_start_returns_when_the_first_pipeline_serves_and_says_what_it_waits_for(service: Service) -> None:
    service.stop()
    service.container.script(f"rm -rf {STATE}/*")
    config = service.container.root / "etc/maas-agent/agent.toml"
    good = config.read_text()
    config.write_text(good.replace('model = "digits"', 'model = "nothing-yet"'))
    service.container.run("systemctl", "start", "--no-block", UNIT.name)
    service.wait_for("StatusText", lambda status: "waiting for the first bundle" in status or "no such" in status)
    assert service.show("ActiveState") == "activating"
    service.stop()
    config.write_text(good)
    service.start()
    assert (service.show("ActiveState"), service.show("StatusText")) == ("active", "serving digits")


def test_a_hub_that_hangs_is_restarted_by_the_watchdog_and_no_input_is_lost(
    service: Service, program: Visitor, sample: bytes
) -> None:
    service.configure(settings="WatchdogSec=2")  # 30 s on a device
    service.stop()
    service.start()
    service.forget()
    hub = service.main_pid
    service.container.script(f"kill -STOP {hub}")
    assert program.may_publish("maas/gate-1/digits/in/during", sample)
    service.wait_for("NRestarts", lambda count: int(count) >= 1)
    service.wait_for("ActiveState", lambda state: state == "active")
    assert service.main_pid != hub
    assert program.wait("maas/gate-1/digits/out/during").document["result"]
    said = [entry["MESSAGE"] for entry in service.journal()]
    assert any("Watchdog timeout" in message for message in said)
    assert any("signal=ABRT" in message or "status=6/ABRT" in message for message in said), said
    dumps = service.container.run(
        "find", "/", "-xdev", "-name", "core*", "-newer", "/etc/maas-agent/agent.toml", "-type", "f"
    )
    assert dumps == ""


def test_the_watchdog_lets_a_healthy_hub_alone(service: Service, program: Visitor, sample: bytes) -> None:
    service.configure(settings="WatchdogSec=1")
    service.stop()
    service.start()
    hub = service.main_pid
    began = float(service.container.run("cut", "-d ", "-f1", "/proc/uptime"))
    number = 0
    while float(service.container.run("cut", "-d ", "-f1", "/proc/uptime")) < began + 4:
        assert program.may_publish(f"maas/gate-1/digits/in/w{number}", sample)
        program.wait(f"maas/gate-1/digits/out/w{number}")
        number += 1
    assert (service.main_pid, service.show("NRestarts")) == (hub, "0")


def test_the_password_comes_from_systemd_and_nobody_else_reads_it(service: Service, operator: Visitor) -> None:
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "online")
    run, credential = service.container.run, "/run/credentials/maas-agent.service/mqtt-password"
    assert run("cat", credential).strip() == PASSWORD
    assert run("stat", "-c", "%a", credential).strip() == "400"
    run("setpriv", "--reuid=nobody", "--clear-groups", "cat", credential, fails=True)
    run("setpriv", "--reuid=maas-agent", "--clear-groups", "cat", "/etc/credstore/maas-agent.mqtt-password", fails=True)
    assert run("findmnt", "-n", "-o", "FSTYPE", "-T", credential).strip() in ("ramfs", "tmpfs")
    hub = f"/proc/{service.main_pid}"
    assert PASSWORD not in run(
        "sh", "-c", f"tr '\\0' ' ' <{hub}/environ; cat {hub}/cmdline; grep -rl '{PASSWORD}' {STATE} || true"
    )


def test_a_wrong_password_is_a_line_in_the_journal_and_a_right_one_lets_it_in(
    service: Service, operator: Visitor
) -> None:
    service.forget()
    service.container.write("/etc/credstore/maas-agent.mqtt-password", "wrong", 0o600)
    service.stop()
    service.start()
    wait_until(lambda: service.has_logged("broker refused the connection"), "it does not say so", WAIT_S)
    service.container.write("/etc/credstore/maas-agent.mqtt-password", PASSWORD, 0o600)
    operator.messages.clear()
    service.stop()
    service.start()
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "online")


def test_a_password_may_be_encrypted_on_the_disk(service: Service, operator: Visitor) -> None:
    """The lines of docs/service.md; without a TPM the key lies in /var/lib/systemd."""
    name, run = "maas-agent.mqtt-password", service.container.run
    service.container.script("mkdir -p -m 700 /etc/credstore.encrypted")
    run("systemd-creds", "encrypt", "--name=mqtt-password", "-", f"/etc/credstore.encrypted/{name}", given=PASSWORD)
    assert PASSWORD not in run("cat", f"/etc/credstore.encrypted/{name}")
    run("mv", f"/etc/credstore/{name}", f"/root/{name}")
    try:
        service.drop_in("encrypted.conf", f"[Service]\nLoadCredentialEncrypted=mqtt-password:{name}\n")
        operator.messages.clear()
        service.stop()
        service.start()
        operator.wait("maas/gate-1/status", lambda status: status["status"] == "online")
    finally:
        run("mv", f"/root/{name}", f"/etc/credstore/{name}")


def test_lines_have_their_priorities_in_the_journal(service: Service, operator: Visitor) -> None:
    service.stop()
    service.forget()
    service.start()
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "online")
    assert operator.may_publish("maas/gate-1/desired", "no document")
    wait_until(lambda: service.has_logged("is ignored"), "the document is not refused", WAIT_S)
    service.container.run("systemctl", "stop", "mosquitto")
    wait_until(lambda: service.has_logged("no connection to the broker"), "it does not notice", WAIT_S)
    own = [entry for entry in service.journal() if entry.get("_TRANSPORT") == "stdout"]
    assert [entry["MESSAGE"] for entry in own if re.match(r"<\d>", entry["MESSAGE"])] == []

    def priorities(words: str) -> set[str]:
        return {entry["PRIORITY"] for entry in own if words in entry["MESSAGE"]}

    assert priorities("hub: starting") == priorities("connected to the broker") == {"6"}
    assert priorities("no connection to the broker") == {"4"}
    assert priorities("is ignored") == {"3"}
    warned = [entry["MESSAGE"] for entry in service.journal("--priority", "warning")]
    assert any("no connection" in message for message in warned) and not any(
        "starting" in message for message in warned
    )


def test_stop_answers_what_was_taken_before_it_says_farewell(
    service: Service, program: Visitor, operator: Visitor, sample: bytes
) -> None:
    service.forget()
    worker = service.worker_pid()
    service.container.script(f"kill -STOP {worker}")  # what is sent now is in flight when the end begins
    for number in range(20):
        assert program.may_publish(f"maas/gate-1/digits/in/s{number}", sample)
    wait_until(lambda: service.received() == 20, "the hub does not take them", WAIT_S)
    service.container.run("systemctl", "stop", "--no-block", UNIT.name)
    wait_until(lambda: service.has_logged("hub: stopping"), "it does not stop", WAIT_S)
    assert not [message for message in operator.messages if "/out/s" in message.topic]
    service.container.script(f"kill -CONT {worker}")
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "stopped")
    service.wait_for("ActiveState", lambda state: state == "inactive")
    topics = [
        message.topic for message in operator.messages if "/out/s" in message.topic or b'"stopped"' in message.payload
    ]
    assert topics == [*(f"maas/gate-1/digits/out/s{number}" for number in range(20)), "maas/gate-1/status"]
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")
    assert not service.has_logged("were not delivered")


def test_nothing_is_lost_by_restarts_under_load_and_next_to_nothing_doubled(
    service: Service, program: Visitor, sample: bytes
) -> None:
    """A steady load of fewer inputs at a time than a broker keeps for a device that is away."""
    ended, sent = threading.Event(), 0

    def answers() -> list[int]:
        return [int(message.topic.rpartition("/l")[2]) for message in program.messages if "/out/l" in message.topic]

    def is_due() -> bool:
        return sent - len(answers()) < 200

    def load() -> None:
        nonlocal sent
        while not ended.is_set():
            wait_until(is_due, "answers stay away", WAIT_S)
            assert program.may_publish(f"maas/gate-1/digits/in/l{sent}", sample)
            sent += 1

    sender = threading.Thread(target=load)
    sender.start()
    for _ in range(3):
        before = sent
        wait_until(lambda before=before: sent > before + 300, "nothing is sent", WAIT_S)  # type: ignore[misc]
        service.container.run("systemctl", "restart", UNIT.name)
    ended.set()
    sender.join()
    wait_until(lambda: len(set(answers())) == sent, "some inputs are not answered", WAIT_S)
    assert len(answers()) - sent <= sent / 100


def test_no_process_has_a_right_of_roots(service: Service) -> None:
    service.configure(SENSOR)
    service.container.write(PROGRAM, ATTEMPTS.read_text(), 0o755)
    service.stop()
    service.start()
    report = service.container.root / STATE[1:] / "attempts.json"
    wait_until(report.exists, "the program of the source did not report", WAIT_S)
    processes = service.processes()
    assert {"hub", "workers", "program"} <= {_kind(line) for line in processes.values()}, processes
    uid = service.container.run("id", "-u", "maas-agent").strip()
    assert uid != "0"
    for pid, line in processes.items():
        status = dict(re.findall(r"^(\w+):\s*(.*)$", service.container.run("cat", f"/proc/{pid}/status"), re.MULTILINE))
        assert set(status["Uid"].split()) == {uid}, line
        rights = {status[name].lstrip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert (rights, status["NoNewPrivs"], status["Seccomp"]) == ({""}, "1", "2"), line
    found = json.loads(report.read_text())
    assert service.show("LimitNICE") == "20"  # as the kernel counts: niceness 0
    excused = set() if _limits_can_be_raised() else {"step forward again"}
    assert {name: how for name, how in found["needed"].items() if how != "done" and name not in excused} == {}
    assert [name for name, how in found["denied"].items() if how == "done"] == []


def test_it_has_written_to_its_state_directory_only(service: Service, program: Visitor, sample: bytes) -> None:
    """Whatever belongs to its user, anywhere: a day of a device, with everything the tests before this did."""
    assert program.may_publish("maas/gate-1/digits/in/own", sample)
    program.wait("maas/gate-1/digits/out/own")
    found = service.container.run(
        *("find", "/", "-path", "/proc", "-prune", "-o", "-path", "/sys", "-prune", "-o"),
        *("(", "-user", "maas-agent", "-o", "-group", "maas-agent", ")", "-print"),
    ).splitlines()
    assert f"{STATE}/lock" in found
    private = (
        r"/(run|tmp|var/tmp)/(maas-agent|credentials/maas-agent\.service|systemd-private-\w+-maas-agent\.service-\w+)"
    )
    assert [path for path in found if not re.match(rf"({STATE}|{private})(/|$)", path)] == []
    readable = service.container.run("find", STATE, "-perm", "/o=rwx", "-not", "-type", "s", "-not", "-type", "l")
    assert readable == "", "others may read or write this"


def test_it_listens_to_nobody_on_the_network(service: Service, operator: Visitor) -> None:
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "online")
    uid = service.container.run("id", "-u", "maas-agent").strip()
    sockets = service.container.run("cat", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6")
    # proc_net_tcp.rst: local and remote address, state, …, uid; 0A is LISTEN, 01 ESTABLISHED, 07 an open UDP socket.
    fields = [line.split() for line in sockets.splitlines() if line.split()[0] != "sl"]
    states = {state for _, _, _, state, _, _, _, owner, *_ in fields if owner == uid}
    assert "01" in states and not states & {"07", "0A"}
    assert any(state == "0A" for _, _, _, state, *_ in fields), "the broker listens, so listeners are seen here"


def test_it_serves_with_every_drop_in(service: Service, program: Visitor, sample: bytes) -> None:
    given = [line.partition("=") for path in DROP_INS for line in lines(path)]
    groups = {value for name, _, value in given if name == "SupplementaryGroups"}
    for group in groups:  # Debian has some; others come with a device's own packages
        service.container.script(f"getent group {group} >/dev/null || groupadd --system {group}")
    for path in DROP_INS:  # as docs/service.md installs them, from what the package brought
        target = f"/etc/systemd/system/{UNIT.name}.d/{path.name}"
        service.container.run("install", "-D", "-m", "644", f"{SHARED}/drop-ins/{path.name}", target)
    service.container.run("systemctl", "daemon-reload")
    service.stop()
    service.start()
    assert program.may_publish("maas/gate-1/digits/in/drop-ins", sample)
    assert program.wait("maas/gate-1/digits/out/drop-ins").document["result"]
    assert set(service.show("SupplementaryGroups").split()) == groups
    status = service.container.run("cat", f"/proc/{service.main_pid}/status")
    (in_groups,) = re.findall(r"^Groups:\s*(.*)$", status, re.MULTILINE)
    wanted = {service.container.run("getent", "group", group).split(":")[2] for group in groups}
    assert wanted <= set(in_groups.split())


def test_the_installed_unit_is_as_tight_as_the_page_says(service: Service) -> None:
    said = service.container.run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=15",
        "--no-pager",
        f"/etc/systemd/system/{UNIT.name}",
    )
    assert "Overall exposure level for maas-agent.service: 1.2" in said


def test_a_configuration_that_cannot_be_used_is_not_tried_again(service: Service) -> None:
    service.stop()
    service.forget()
    service.container.write("/etc/maas-agent/agent.toml", '[broker]\nulr = "x"\n')
    service.container.run("systemctl", "start", UNIT.name, fails=True)
    assert (service.show("Result"), service.show("ExecMainStatus"), service.show("NRestarts")) == (
        "exit-code",
        "78",
        "0",
    )
    assert service.has_logged("did you mean 'url'?")
    service.container.run("systemctl", "reset-failed", UNIT.name)


def _limits_can_be_raised() -> bool:
    """Whether root may do that here (``CAP_SYS_RESOURCE``, number 24): else no systemd can for its services."""
    (held,) = re.findall(r"^CapBnd:\s+([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(int(held, 16) >> 24 & 1)


def _kind(line: str) -> str:
    if PROGRAM in line:
        return "program"
    return "workers" if "maas_agent.worker" in line else "hub" if "maas-agent run" in line else line
