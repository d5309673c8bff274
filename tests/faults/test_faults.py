"""The promise: every input of QoS 1 is answered at least once, whatever happens; few more than once.

`make faults` plays each of them for longer, `make soak` random ones for as long as you like.
"""

import os

import pytest

from tests.faults.outages import local_outage
from tests.faults.play import Stage
from tests.faults.scenarios import LOCAL_NONE, SCENARIOS, Scenario

_MOST_DUPLICATES = 0.2
"""A fault costs some, and there are few inputs between two here: `make faults` holds each scenario to 1 %."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_input_is_answered_when(name: str, stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = SCENARIOS[name]
    lack = scenario.lack()
    if lack is not None:
        assert not (lack.installable and os.environ.get("CI") == "true"), f"CI needs this: {lack.reason}"
        pytest.skip(lack.reason)
    account = stage.play(scenario, scenario.rounds[0])
    with capsys.disabled():
        print(f"\n{scenario.title}: {account}")
    assert account.faults >= 1 and account.inputs >= 100
    assert account.lost == 0
    assert account.errors == 0
    assert account.lost_by_broker == 0 or scenario.kills_broker
    assert account.duplicates < _MOST_DUPLICATES
    assert scenario.under_way is None or account.duplicated <= scenario.under_way * account.faults


def test_what_waits_in_memory_is_lost_with_the_hub_and_the_account_says_so(stage: Stage) -> None:
    """``durability = "none"`` promises a source on the device nothing: an account without a loss here is none."""
    account = stage.play(Scenario("without a disk", local_outage, (2, 2), lambda: LOCAL_NONE), 2)
    assert account.lost > 0  # how many there were in a second is for the machine to say
