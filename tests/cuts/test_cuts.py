"""kill -9 and a full disk at every change that an update makes to the disk, in every state of an update.

``MAAS_CUTS=all`` (``make cuts``) tries every change; otherwise some of them, others in each scenario.
"""

import os
from collections import Counter

import pytest

from tests.cuts.rig import INPUTS, STATE, Rig, remembered_as_it_is
from tests.cuts.scenarios import SCENARIOS

ALL = os.environ.get("MAAS_CUTS") == "all"
EVERY = 1 if ALL else 33


def chosen(total: int, offset: int) -> range:
    return range(1 + (0 if ALL else offset % EVERY), total + 1, EVERY)


@pytest.mark.parametrize("scenario", SCENARIOS, indirect=True)
def test_an_agent_that_is_killed_at_any_change_serves_again_and_ends_where_it_was_going(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    total, states, served = len(rig.record()), Counter[str](), Counter[str]()
    assert total > 50
    for at in chosen(total, 3 + 5 * list(SCENARIOS.values()).index(rig.scenario)):
        rig.run_until(at)
        if not rig.was_cut():
            break  # timing made this run shorter than the first one
        states[remembered_as_it_is(rig.device.store)] += 1
        rig.hold(rig.device.store)
        served[rig.comes_back()] += 1
    with capsys.disabled():
        print(f"\n{total} changes, {states.total()} cuts: {dict(states)}; served first: {dict(served)}")
    assert states.total() >= (total - 20) // EVERY
    if ALL:
        assert rig.scenario.states <= set(states), f"never cut in {rig.scenario.states - set(states)}"


@pytest.mark.parametrize(
    "scenario", [name for name in SCENARIOS if ALL or name in ("update", "refused")], indirect=True
)
def test_a_disk_that_is_full_at_any_change_harms_nothing_that_serves(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """The change is refused, and the four after it: whatever the agent tries next does not fit either."""
    if not rig.scenario.before:
        pytest.skip("without a bundle nothing serves that could be harmed")
    total, tried = len(rig.record()), 0
    for at in chosen(total, 5):
        rig.run_until(at, "full", refusals=5)
        rig.console.wait(STATE, lambda s: s["serving"])
        answer = rig.console.ask("dev", "digits", INPUTS[0], f"during-{at}")
        assert "result" in answer and answer["version"] in rig.scenario.versions
        assert rig.device.stop() == 0
        rig.hold(rig.device.store)
        rig.comes_back()
        tried += 1
    with capsys.disabled():
        print(f"\n{total} changes, the disk was full at {tried} of them")
    assert tried >= (total - 20) // EVERY
