"""A power cut after any change of an update, on every disk that the model in `tests.cuts.disk` allows.

Each update runs once, undisturbed and recorded; from the record the disks are built. All of them must remember what
serves, and have it whole; on a sample of them a device starts, and finishes the update. ``make cuts`` takes more.
"""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from maas_agent.bundle.version import parse_version
from tests.cuts.disk import VARIANTS, Disk, contents
from tests.cuts.rig import Rig, remembered, remembered_as_it_is
from tests.cuts.scenarios import SCENARIOS

ALL = os.environ.get("MAAS_CUTS") == "all"
EVERY = 1 if ALL else 11
"""Of the changes after which TUF's client is tried."""
DEVICES = 40 if ALL else 2
"""On so many disks of each scenario a device starts."""


@pytest.mark.parametrize("scenario", SCENARIOS, indirect=True)
def test_a_power_cut_at_any_change_leaves_what_serves(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = rig.record()
    disk, disks, states, safe = Disk(rig.device.store, rig.saved, rig.prepared), 0, Counter[str](), list[str]()
    recorded = dict(contents(rig.device.store))
    gone = [Path(c.path).name for c in changes if c.what == "unlink" and Path(c.path).parent.name == "blobs"]
    assert len([name for name in gone if not name.startswith(".")]) >= rig.scenario.removed
    sample = _sample(len(changes))
    for change in changes:
        disk.make(change)
        for number, variant in enumerate(VARIANTS):
            folder = tmp_path / "disk"
            disk.build(folder, variant, change.number)
            states[remembered_as_it_is(folder)] += 1
            state = rig.hold(folder)
            disks += 1
            if variant == "all lost" and state.active:
                safe.append(state.active.version)
            if (change.number, number) in sample:
                shutil.copytree(folder, tmp_path / f"cut-{change.number}-{number}", symlinks=True)
            if change.number % EVERY == 0:
                rig.can_look(folder)
            shutil.rmtree(folder)
    # The record is complete: what it makes is what is there.
    disk.build(tmp_path / "all", "all kept")
    assert dict(contents(tmp_path / "all")) == recorded
    # What is safe stays so, and in the end it is what the device told.
    assert safe == sorted(safe, key=parse_version)
    for variant in VARIANTS:
        disk.build(tmp_path / variant, variant)
        state = remembered(tmp_path / variant)
        assert state.active is not None and state.active.version == rig.scenario.ends_on, variant
    for change_number, number in sorted(sample):
        rig.put(tmp_path / f"cut-{change_number}-{number}")
        rig.comes_back()
    with capsys.disabled():
        print(f"\n{len(changes)} changes, {disks} disks: {dict(states)}; a device was started on {len(sample)}")
    assert rig.scenario.states <= set(states), f"never cut in {rig.scenario.states - set(states)}"


def _sample(changes: int) -> set[tuple[int, int]]:
    """Change and variant, spread over both."""
    step = max(1, changes // DEVICES)
    return {(at, (at // step * 2 + 1) % len(VARIANTS)) for at in range(step, changes + 1, step)}
