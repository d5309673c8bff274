"""The broker's rules in ``examples/mosquitto``: a device works under them, and a second one reaches nothing of it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bundles import make_bundle, samples
from tests.system.accounts import EXAMPLE, GuardedMosquitto, Visitor
from tests.system.conftest import LOCAL
from tests.system.device import Device, wait_until

SAMPLE = samples(1)[0].tobytes()
NAMES = ("gate-1", "gate-2", "operator", "press-7")
TOPICS = [
    "maas/gate-1/digits/in",
    "maas/gate-1/digits/in/1",
    "maas/gate-1/digits/out",
    "maas/gate-1/digits/out/1",
    "maas/gate-1/digits/state",
    "maas/gate-1/status",
    "maas/gate-1/metrics",
    "maas/gate-1/shared",
    "maas/gate-1/desired",
    "maas/gate-1/cmd/update/1",
    "maas/groups/line-2/desired",
    "maas/groups/line-2/digits/in/1",
    "maas/groups/line-2/digits/out/1",
    "answers/gate-1/press-7/1",
]
"""Every kind of topic that concerns the device gate-1."""
FILTERS = ["#", "+/+/+", "maas/#", "maas/+/+/in/#", "$share/line-2/maas/groups/line-2/digits/in/#", *TOPICS]

Account = Callable[..., Visitor]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMosquitto]:
    mosquitto = GuardedMosquitto(tmp_path_factory.mktemp("broker"), NAMES)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def account(broker: GuardedMosquitto) -> Iterator[Account]:
    """Connects somebody: a device on the devices' listener, others on the other one."""
    visitors: list[Visitor] = []

    def connect(name: str, **options: str) -> Visitor:
        port = broker.port if name.startswith("gate-") else broker.people_port
        visitors.append(Visitor(name, port, **options))
        return visitors[-1]

    yield connect
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def operator(account: Account) -> Visitor:
    visitor: Visitor = account("operator")
    visitor.subscribe("maas/#")
    return visitor


@contextmanager
def serving(broker: GuardedMosquitto, folder: Path, protocol: str) -> Iterator[Device]:
    """The device gate-1 of the group line-2, which serves the pipeline digits."""
    bundle, password = make_bundle(folder / "digits.maas"), folder / "password"
    password.write_text("gate-1\n")
    device = Device(folder / "gate-1", broker.url, LOCAL.format(bundle=bundle), device_id="gate-1")
    login = f'[broker]\nprotocol = "{protocol}"\nusername = "gate-1"\npassword_file = "{password}"\n'
    settings = device.config.read_text().replace("[broker]\n", login)
    device.config.write_text(settings.replace("[device]\n", '[device]\ngroups = ["line-2"]\n'))
    device.start()
    watcher = Visitor("operator", broker.people_port)
    watcher.subscribe("maas/gate-1/#")
    try:
        watcher.wait("maas/gate-1/digits/state", lambda state: state["serving"])
        yield device
    finally:
        watcher.close()
        device.close()


@pytest.fixture(scope="module")
def gate(broker: GuardedMosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """One for all tests that leave it as they found it."""
    with serving(broker, tmp_path_factory.mktemp("gate"), "5") as device:
        yield device


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_device_works_fully_under_the_rules(
    broker: GuardedMosquitto, account: Account, operator: Visitor, tmp_path: Path, protocol: str
) -> None:
    with serving(broker, tmp_path, protocol) as gate:
        _works_fully(gate, account, operator)


def _works_fully(gate: Device, account: Account, operator: Visitor) -> None:
    """Inputs, group inputs, answers, state, metrics, commands, desired state, birth, will and farewell."""
    program = account("press-7")
    for topic in ("maas/gate-1/digits/out/#", "maas/groups/line-2/digits/out/#"):
        program.subscribe(topic)
    assert program.may_publish("maas/gate-1/digits/in/1", SAMPLE)
    assert program.wait("maas/gate-1/digits/out/1").document["result"]
    assert program.may_publish("maas/groups/line-2/digits/in/2", SAMPLE)
    assert program.wait("maas/groups/line-2/digits/out/2").document["device"] == "gate-1"
    operator.wait("maas/gate-1/metrics", lambda metrics: metrics["pipelines"]["digits"]["answered"] == 2)

    assert operator.may_publish("maas/gate-1/cmd/restart/1", '{"status": "init", "pipeline": "digits"}', retain=True)
    operator.wait("maas/gate-1/cmd/restart/1", lambda command: command["status"] == "successful")
    for topic in ("maas/gate-1/desired", "maas/groups/line-2/desired"):
        assert operator.may_publish(topic, "no document", retain=True)
        # What is no document is logged: so it has arrived.
        wait_until(lambda topic=topic: f"on {topic} is ignored" in gate.log(), f"nothing arrives on {topic}")  # type: ignore[misc]

    later = account("operator")  # a second one beside the first; what is retained is still there
    later.subscribe("maas/#")
    assert later.wait("maas/gate-1/status").retain and later.wait("maas/gate-1/digits/state").retain
    gate.kill()
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "offline")
    operator.messages.clear()
    gate.start()
    operator.wait("maas/gate-1/digits/state", lambda state: state["serving"])
    assert gate.stop() == 0
    operator.wait("maas/gate-1/status", lambda status: status["status"] == "stopped")
    assert "broker refused" not in gate.log()


def test_the_operators_commands_work_under_the_rules(gate: Device, broker: GuardedMosquitto, tmp_path: Path) -> None:
    password = tmp_path / "operators-password"
    password.write_text("operator")
    login = ("--broker", f"mqtt://127.0.0.1:{broker.people_port}", "--username", "operator")
    command = [sys.executable, "-m", "maas_converter", "fleet", *login, "--password-file", str(password), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"gate-1"' in done.stdout


def test_a_second_device_reads_nothing_of_the_first_and_its_group(
    gate: Device, account: Account, operator: Visitor
) -> None:
    thief = account("gate-2")
    for topic in FILTERS:
        thief.subscribe(topic)
    program = account("press-7")
    program.subscribe("maas/gate-1/digits/out/#")
    program.subscribe("answers/+/press-7/#")
    assert program.may_publish("maas/gate-1/digits/in/1", SAMPLE, answer="answers/gate-1/press-7/1")
    program.wait("maas/gate-1/digits/out/1")
    program.wait("answers/gate-1/press-7/1")
    assert program.may_publish("maas/groups/line-2/digits/in/2", SAMPLE)
    for topic in ("maas/gate-1/desired", "maas/groups/line-2/desired", "maas/gate-1/cmd/nothing/1"):
        assert operator.may_publish(topic, '{"status": "init"}', retain=True)
    operator.wait("maas/gate-1/cmd/nothing/1", lambda command: command["status"] == "failed")
    for topic in ("maas/#", "#"):  # what is retained by now is not for it either
        thief.subscribe(topic)
    # The broker keeps the order for one client: what comes last says that nothing else comes.
    assert operator.may_publish("maas/gate-2/desired", '{"last": true}')
    thief.wait("maas/gate-2/desired")
    assert {message.topic for message in thief.messages} == {"maas/gate-2/desired"}


def test_a_second_device_writes_nothing_on_topics_of_the_first_and_its_group(
    gate: Device, account: Account, operator: Visitor
) -> None:
    thief = account("gate-2")
    before = operator.wait("maas/gate-1/status", lambda status: status["status"] == "online").payload
    assert [topic for topic in TOPICS if thief.may_publish(topic, b"forged", retain=True)] == []
    account("gate-2", will="maas/gate-1/status").die()
    account("gate-2", will="maas/gate-2/status").die()
    operator.wait("maas/gate-2/status")  # so the other will has had its turn
    # And it may do for itself what it may not do for others.
    honest = account("gate-2")
    own = ("digits/out", "digits/out/1", "digits/state", "status", "metrics", "shared", "cmd/update/1")
    assert [topic for topic in own if not honest.may_publish(f"maas/gate-2/{topic}")] == []
    assert honest.may_publish("answers/gate-2/press-7/1")
    fresh = account("operator")
    fresh.subscribe("maas/gate-1/#")
    assert fresh.wait("maas/gate-1/status").payload == before
    assert all(message.payload != b"forged" and message.payload != b"{}" for message in fresh.messages)


def test_a_device_does_not_write_its_own_wishes_and_inputs(account: Account, broker: GuardedMosquitto) -> None:
    device = account("gate-2")
    assert not device.may_publish("maas/gate-2/desired") and not device.may_publish("maas/gate-2/digits/in/1")
    assert device.may_publish("maas/gate-2/cmd/update/1", '{"status": "successful"}')  # its part of a command


def test_a_second_device_does_not_take_the_session_of_the_first(gate: Device, account: Account) -> None:
    """By its client id it would end its connection, and be sent what is waiting for it."""
    thief = account("gate-2", client_id="maas-gate-1")
    assert thief.admitted  # as gate-2, whatever it calls itself
    program = account("press-7")
    program.subscribe("maas/gate-1/digits/out/#")
    assert program.may_publish("maas/gate-1/digits/in/1", SAMPLE)
    program.wait("maas/gate-1/digits/out/1")
    assert thief.messages == [] and gate.log().count("connected to the broker") == 1


def test_a_program_that_may_ask_may_do_nothing_else(gate: Device, account: Account, operator: Visitor) -> None:
    program = account("press-7")
    allowed = {"maas/gate-1/digits/in", "maas/gate-1/digits/in/1", "maas/groups/line-2/digits/in/1"}
    assert {topic for topic in TOPICS if program.may_publish(topic, b"")} == allowed
    program.subscribe("#")
    assert operator.may_publish("maas/gate-1/desired", '{"serial": 1, "models": {}}')
    program.may_publish("maas/gate-1/digits/in/last", SAMPLE)
    program.wait("maas/gate-1/digits/out/last")
    seen = {message.topic.rpartition("/out")[0] for message in program.messages}
    assert seen <= {"maas/gate-1/digits", "maas/groups/line-2/digits"}


def test_a_program_does_not_speak_by_the_devices_rights(gate: Device, account: Account, operator: Visitor) -> None:
    """By a response topic it would have its answer published where only the device may."""
    program = account("press-7")
    program.subscribe("maas/gate-1/digits/out/#")
    forbidden = [
        "maas/gate-1/status",
        "maas/gate-1/digits/state",
        "maas/gate-1/digits/in/x",
        "maas/gate-1/cmd/restart/x",
    ]
    for number, topic in enumerate([*forbidden, "maas/groups/line-2/digits/out/x"]):
        assert program.may_publish(f"maas/gate-1/digits/in/{number}", SAMPLE, answer=topic)
        program.wait(f"maas/gate-1/digits/out/{number}")
    program.may_publish("maas/gate-1/digits/in/last", SAMPLE)
    program.wait("maas/gate-1/digits/out/last")
    operator.wait("maas/gate-1/digits/out/last")
    # A result, on a topic that is for something else.
    strange = [m.topic for m in operator.messages if b'"result"' in m.payload and "/out/" not in m.topic]
    assert strange == [] and not [m for m in operator.messages if m.topic.endswith("/x")]


@pytest.mark.parametrize(("name", "password"), [("gate-1", "wrong"), ("nobody", "nobody"), ("", "")])
def test_nobody_gets_in_without_his_password(broker: GuardedMosquitto, name: str, password: str) -> None:
    for port in (broker.port, broker.people_port):
        visitor = Visitor(name, port, password=password)
        visitor.close()
        assert not visitor.admitted


def test_the_rules_name_topics_that_exist() -> None:
    """Every pattern of the file is one of those above, so that nothing is given away without a test."""
    given = [line.split() for line in (EXAMPLE / "maas.acl").read_text().splitlines() if line[:1] not in ("", "#")]
    patterns = [" ".join(line[1:]) for line in given if line[0] == "pattern"]
    assert len(patterns) == 9 and json.dumps(patterns).count("%u") == 9
    assert {line[1] for line in given if line[0] == "user"} == {"gate-1", "operator", "press-7"}
