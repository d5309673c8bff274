"""kill -9, a power cut and a full disk at every change that an update makes to the disk.

``MAAS_CUTS=all`` (``make cuts``) tries every change; otherwise some of them, others in each scenario.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cuts.disk import lose_data, lose_names
from tests.cuts.rig import Rig, compiled
from tests.system.brokers import Mosquitto
from tests.system.console import Console
from tests.system.device import Device
from tests.system.repositories import Repository

ALL = os.environ.get("MAAS_CUTS") == "all"
EVERY = 1 if ALL else 33
PIPELINE = (
    '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\nupdate = { probation_s = 0.3, max_drift = 1.0 }\n'
)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler: apt install gcc")


class Scenario:
    """What is on the card at first, what is published, what the device ends on, and which states it goes through."""

    def __init__(self, first: bool, off_by: float, versions: set[str], ends_on: str, states: set[str]) -> None:
        self.first, self.off_by, self.versions, self.ends_on, self.states = first, off_by, versions, ends_on, states


SCENARIOS = {
    "update": Scenario(
        True, 0.0, {"1.0.0", "1.1.0"}, "1.1.0", {"active", "pulling", "verifying", "staged", "testing", "probation"}
    ),
    "first install": Scenario(False, 0.0, {"1.1.0"}, "1.1.0", {"init", "pulling", "verifying", "staged", "testing"}),
    "refused": Scenario(
        True, 0.5, {"1.0.0"}, "1.0.0", {"active", "pulling", "verifying", "staged", "testing", "failed"}
    ),
}


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return SCENARIOS[request.param]


@pytest.fixture
def rig(scenario: Scenario, tmp_path: Path) -> Iterator[Rig]:
    broker, repository = Mosquitto(tmp_path), Repository(tmp_path)
    broker.start()
    console = Console(broker.port)
    device = Device(tmp_path / "dev", broker.url, PIPELINE, extra=repository.settings)
    prepared = None
    try:
        if scenario.first:
            repository.publish("digits", "1.0.0", seed=1)
            device.start()
            console.wait("maas/dev/digits/state", lambda s: s["serving"])
            device.stop()
            prepared = tmp_path / "prepared"
            shutil.copytree(device.store, prepared, symlinks=True)
        repository.publish("digits", "1.1.0", seed=2, off_by=scenario.off_by)
        yield Rig(device, console, compiled(tmp_path), prepared)
    finally:
        device.close()
        console.close()
        broker.stop()
        repository.close()


def ended(rig: Rig, scenario: Scenario) -> bool:
    """Whether the update has come to its end."""

    def has(state: dict[str, Any]) -> bool:
        told = state["update"]["state"]
        active = state["active"]["version"] if state["active"] else None
        return told in ("active", "failed") and active == scenario.ends_on and state["update"]["version"] == "1.1.0"

    return any(has(m.document) for m in rig.console.on("maas/dev/digits/state") if m.payload)


def count(rig: Rig, scenario: Scenario) -> int:
    """How many changes an undisturbed update makes."""
    rig.run_until(1 << 30)
    assert not rig.wait_for_the_cut(lambda: ended(rig, scenario))
    return len(rig.changes)


def chosen(total: int, offset: int) -> range:
    return range(1 + (0 if ALL else offset % EVERY), total + 1, EVERY)


def test_an_agent_that_is_killed_at_any_change_serves_again_and_ends_where_it_was_going(
    rig: Rig, scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    total, states, served = count(rig, scenario), Counter[str](), Counter[str]()
    assert total > 50
    for at in chosen(total, 3):
        rig.run_until(at)
        if not rig.wait_for_the_cut(lambda: ended(rig, scenario)):
            break  # timing made this run shorter than the first one
        states[rig.state["update"]["state"]] += 1
        rig.hold()
        served[rig.comes_back(scenario.versions, scenario.ends_on)] += 1
    with capsys.disabled():
        print(f"\n{total} changes, {states.total()} cuts: {dict(states)}; served first: {dict(served)}")
    assert states.total() >= (total - 10) // EVERY
    if ALL:
        assert scenario.states <= set(states), f"never cut in {scenario.states - set(states)}"


@pytest.mark.parametrize("lost", ["data", "names"])
def test_a_power_cut_at_any_change_leaves_what_serves(
    rig: Rig, scenario: Scenario, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    total, cuts, effects = count(rig, scenario), 0, 0
    for at in chosen(total, 7 if lost == "data" else 10):
        rig.run_until(at)
        if not rig.wait_for_the_cut(lambda: ended(rig, scenario)):
            break
        cuts += 1
        effects += lose_data(rig.changes) if lost == "data" else lose_names(rig.changes, rig.saved)
        rig.hold()
        rig.comes_back(scenario.versions, scenario.ends_on)
    with capsys.disabled():
        print(f"\n{total} changes, {cuts} power cuts, {effects} files without their {lost}")
    assert cuts >= (total - 10) // EVERY


def test_a_disk_that_is_full_at_any_change_harms_nothing_that_serves(
    rig: Rig, scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    """The change is refused, and the four after it: whatever the agent tries next does not fit either."""
    if not scenario.first:
        pytest.skip("without a bundle nothing serves that could be harmed")
    total, tried = count(rig, scenario), 0
    for at in chosen(total, 5):
        rig.run_until(at, "full", refusals=5)
        rig.console.wait("maas/dev/digits/state", lambda s: s["serving"])
        answer = rig.console.ask("dev", "digits", bytes(64), f"during-{at}")
        assert "result" in answer and answer["version"] in scenario.versions
        rig.device.stop()
        rig.hold()
        rig.comes_back(scenario.versions, scenario.ends_on)
        tried += 1
    with capsys.disabled():
        print(f"\n{total} changes, the disk was full at {tried} of them")
    assert tried >= (total - 10) // EVERY
