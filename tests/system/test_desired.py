"""The desired state: which version a device runs, as far as the repository offers it."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from maas_agent.bundle.desired_state import DesiredModel, Document, encode_desired, position
from tests.bundles import samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.updating import Load

SAMPLE = samples(1)[0].tobytes()
PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.2, max_drift = 1.0 }\n'
Desire = Callable[..., None]


@pytest.fixture
def device(make_device: MakeDevice, console: Console, repository: Repository) -> Device:
    """In the group ``line``; serves digits 1.1.0, the newest on its channel; 1.0.0 and 1.2.0 are there too."""
    for number, version in enumerate(("1.2.0", "1.0.0", "1.1.0")):
        repository.publish("digits", version, seed=number)
    made: Device = make_device(PIPELINE, extra=repository.settings)
    made.config.write_text(made.config.read_text().replace('id = "dev"', 'id = "dev"\ngroups = ["line"]'))
    made.start()
    serves(console, "1.1.0")
    return made


@pytest.fixture
def desire(console: Console) -> Desire:
    """Publishes what is wanted of digits, with a serial that grows."""

    def publish(topic: str = "maas/dev/desired", serial: int | None = None, **wish: Any) -> None:
        document = Document(serial or time.time_ns() // 1_000_000, {"digits": DesiredModel(**wish)})
        console.publish(topic, encode_desired(document), retain=True)

    return publish


def _desired(device: Device) -> str:
    path = device.store / "desired.json"
    return path.read_text() if path.exists() else ""


def serves(console: Console, version: str) -> dict[str, Any]:
    def does(state: dict[str, Any]) -> bool:
        return state["serving"] and state["active"]["version"] == version and state["update"]["state"] != "probation"

    return console.wait("maas/dev/digits/state", does).document


def test_a_device_runs_the_version_that_is_named_up_and_down_and_under_load_nothing_is_lost(
    device: Device, desire: Desire, console: Console
) -> None:
    status = console.wait("maas/dev/status").document
    assert status["groups"] == ["line"]
    load = Load(console)
    desire(version="1.2.0")
    assert serves(console, "1.2.0")["model"] == "digits"
    desire(version="1.0.0")
    serves(console, "1.0.0")
    load.stop()
    answers = [answer.document for answer in console.wait_for_count("maas/dev/digits/out/", load.sent)]
    assert sorted(int(answer["id"]) for answer in answers) == list(range(load.sent))
    assert all("result" in answer for answer in answers)
    # Nobody wishes anything any more: the channel's version again.
    console.publish("maas/dev/desired", b"", retain=True)
    serves(console, "1.1.0")


def test_it_is_remembered_while_the_broker_is_not_there(
    device: Device, desire: Desire, console: Console, repository: Repository
) -> None:
    desire(version="1.0.0")
    serves(console, "1.0.0")
    console.publish("maas/dev/desired", b"", retain=True)  # not noticed: the device is down
    wait_until(lambda: '"document": null' in (device.store / "desired.json").read_text(), "it is not withdrawn")
    desire(version="1.0.0")
    wait_until(lambda: "1.0.0" in (device.store / "desired.json").read_text(), "it is not remembered")
    serves(console, "1.0.0")
    device.stop()
    console.forget()
    device.start()
    serves(console, "1.0.0")


def test_of_a_group_only_the_devices_below_the_percentage(device: Device, desire: Desire, console: Console) -> None:
    here = position("r1", "dev")
    group = "maas/groups/line/desired"
    desire(group, version="1.2.0", salt="r1", percent=here - 0.001)
    wait_until(lambda: "desired state" in device.log(), "it is not heard")
    desire(group, version="1.2.0", salt="r1", percent=min(100.0, here + 0.001))
    serves(console, "1.2.0")
    states = [message.document for message in console.on("maas/dev/digits/state")]
    assert {state["active"]["version"] for state in states if state["active"]} == {"1.1.0", "1.2.0"}
    desire(version="1.0.0")  # its own topic wins over the group's
    serves(console, "1.0.0")


def test_what_is_withdrawn_goes_at_once_and_does_not_come_back(
    device: Device, desire: Desire, console: Console, repository: Repository
) -> None:
    group = "maas/groups/line/desired"
    desire(group, version="1.2.0")
    serves(console, "1.2.0")
    desire(group, withdrawn=("1.2.0",))
    state = console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "rolled_back").document
    assert (state["active"]["version"], state["update"]["version"]) == ("1.1.0", "1.2.0")
    assert state["update"]["reason"] == "1.2.0 was withdrawn"
    repository.publish("digits", "1.2.0", seed=0)  # its channel leads there now
    console.publish("maas/dev/cmd/update/1", '{"status": "init"}', retain=True)
    console.wait("maas/dev/cmd/update/1", lambda d: d["status"] == "successful")
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.1.0"


def test_a_broker_cannot_name_what_the_repository_does_not_offer(
    device: Device, desire: Desire, console: Console
) -> None:
    desire(version="6.6.6")
    update = console.wait("maas/dev/digits/state", lambda s: s["update"]["reason"]).document["update"]
    assert "6.6.6 is wanted, but the repository does not offer it" in update["reason"]
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.1.0"


def test_a_replayed_desired_state_changes_nothing(device: Device, desire: Desire, console: Console) -> None:
    desire(serial=2_000, version="1.2.0")
    serves(console, "1.2.0")
    desire(serial=1_000, version="1.0.0")
    wait_until(lambda: "its serial 1000 is older than 2000" in device.log(), "the replay is not noticed")
    desire(serial=2_000, version="1.2.0")
    console.publish("maas/dev/cmd/update/1", '{"status": "init"}', retain=True)
    console.wait("maas/dev/cmd/update/1", lambda d: d["status"] == "successful")
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.2.0"


def test_garbage_on_the_topic_is_logged_once_and_harmless(device: Device, desire: Desire, console: Console) -> None:
    for _ in range(50):
        console.publish("maas/dev/desired", b"{", retain=True)
        console.publish("maas/dev/desired", b'{"serial": 1, "models": {"digits": {"version": "newest"}}}', retain=True)
    console.publish("maas/dev/desired", b" " * 70_000, retain=True)
    desire(version="1.2.0")
    serves(console, "1.2.0")
    assert device.log().count("is ignored") == 3


def test_a_document_that_withdraws_thousands_of_versions_ends_nobody(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    """Twenty pipelines of one model: said for each of them it was too long a line, and the hub ended at every start."""
    repository.publish("digits", "1.0.0", seed=0)
    pipelines = "".join(PIPELINE.replace('name = "digits"', f'name = "digits-{number}"') for number in range(20))
    withdrawn = tuple(f"0.0.{number}" for number in range(6000))
    document = encode_desired(Document(time.time_ns() // 1_000_000, {"digits": DesiredModel(withdrawn=withdrawn)}))
    assert len(document) < 1 << 16
    console.publish("maas/dev/desired", document, retain=True)
    device = make_device(pipelines, extra=repository.settings)
    device.start()
    wait_until(lambda: "0.0.5999" in _desired(device), "it is not heard")
    console.publish("maas/dev/cmd/update/1", '{"status": "init"}', retain=True)
    done = console.wait("maas/dev/cmd/update/1", lambda d: d["status"] in ("successful", "failed")).document
    assert done["status"] == "successful", done
    assert not device.has_ended
    device.stop()
    console.forget()
    device.start()
    console.wait("maas/dev/digits-19/state", lambda state: state["serving"])
    assert not device.has_ended
