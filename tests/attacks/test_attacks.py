"""Each attack in each way is played against a real agent, and holds it to the same promises.

``make attacks`` plays all of them; without ``MAAS_ATTACKS=all`` each attack is played in the first of its ways.
"""

import json
import os

import pytest

from tests.attacks import on_broker, on_bundles, on_content, on_metadata, on_transfer
from tests.attacks.registry import ATTACKS, NAMES, Attack, ways_of
from tests.attacks.scene import ACTIVE, OFFERED, Scene, matches
from tests.system.device import wait_until

PLAYS = (on_metadata, on_transfer, on_content, on_bundles, on_broker)
"""The modules that register attacks."""


SELECTED = ATTACKS if os.environ.get("MAAS_ATTACKS") == "all" else [ways_of(name)[0] for name in NAMES]


@pytest.mark.parametrize("attack", SELECTED, ids=str)
def test_an_attack_is_refused_with_its_reason_and_changes_nothing(scene: Scene, attack: Attack) -> None:
    """And without the attack the same offer is taken: by the device itself after it, or by a twin before."""
    play = attack.play(scene)
    # (1) without the attack, if there is no way back from it
    next(play)
    scene.remember()
    if attack.signs:
        bundle = str(scene.brought) if scene.brought else None
        taken = scene.twin().update(active_version=ACTIVE, bundle=bundle)
        assert (taken.result, taken.version) == ("tested", OFFERED), taken.reason
    # (2) with it
    expected = next(play)
    before = scene.files()
    scene.act()
    assert expected is not None and matches(expected, scene.says()), scene.says()
    assert "unexpected" not in scene.says() and "Traceback" not in scene.says()
    assert scene.served() == ACTIVE
    assert scene.left(before) == []
    # (3) after it: nobody without keys can set a version aside, or keep the device from it
    if attack.signs:
        return
    assert json.loads((scene.store / "pipelines" / "digits.json").read_text()).get("refused", {}) == {}
    scene.end_attack()
    next(play, None)

    def has_taken_it() -> bool:
        scene.act()
        return scene.served() == OFFERED

    wait_until(has_taken_it, f"the honest offer is not taken after the attack: {scene.agent.log()}")
    assert scene.strange(before) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_that_is_named_is_played(name: str) -> None:
    assert ways_of(name), name
