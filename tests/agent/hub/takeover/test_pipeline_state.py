"""What a pipeline remembers of its bundles, and which transitions follow."""

import pytest

from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.pipeline_state import (
    IllegalTransition,
    PipelineState,
    Slot,
    UpdateState,
    activated,
    current,
    failed,
    rolled_back,
)
from maas_agent.update.protocol import Outcome, Step
from tests.agent.hub.takeover.states import ONE, RUNNING, STEPS, TWO, after, outcome


def test_an_update_goes_its_way_and_the_active_bundle_becomes_the_previous() -> None:
    """From the first byte to the last message switched."""
    state = after(RUNNING, *STEPS)
    assert (state.active, state.candidate, state.update) == (ONE, TWO, UpdateState("testing", "2.0.0", None, 13.0))
    state = pipeline_state.tested(state, outcome("tested"), 20.0)
    assert state.update == UpdateState("probation", "2.0.0", None, 20.0)
    state = activated(state, 21.0)
    assert (state.active, state.candidate, state.previous) == (TWO, None, ONE)
    assert state.update == UpdateState("active", "2.0.0", None, 21.0)
    assert state.digests() == {ONE.digest, TWO.digest}


def test_the_first_bundle_of_all_has_no_previous() -> None:
    """A fresh device."""
    state = activated(pipeline_state.tested(after(PipelineState(), *STEPS), outcome("tested"), 20.0), 21.0)
    assert (state.active, state.previous) == (TWO, None)


@pytest.mark.parametrize("reached", range(len(STEPS) + 1))
def test_a_failure_at_any_step_keeps_what_is_active(reached: int) -> None:
    """And what is set aside is remembered with its reason."""
    state = failed(after(RUNNING, *STEPS[:reached]), outcome("failed", reason="it deviates", set_aside=True), 30.0)
    assert (state.active, state.candidate) == (ONE, None)
    assert state.update == UpdateState("failed", "2.0.0", "it deviates", 30.0)
    assert state.refused == {TWO.digest: "it deviates"}


def test_a_network_failure_sets_nothing_aside_and_passes() -> None:
    """The next poll finds the server again, and the state is what it was."""
    state = failed(RUNNING, Outcome(pipeline="p", result="failed", state="init", reason="server down"), 30.0)
    assert (state.update.state, state.refused) == ("failed", {})
    state = current(state, outcome("current", ONE), 40.0)
    assert state.update == UpdateState("active", "1.0.0", None, 40.0)


def test_a_bundle_that_is_set_aside_stays_visible_as_the_failure_it_is() -> None:
    """Every poll is told "current" with the reason; the state does not flap, and is not written again."""
    state = failed(after(RUNNING, *STEPS), outcome("failed", reason="it deviates", set_aside=True), 30.0)
    assert current(state, outcome("current", ONE, reason="2.0.0 is set aside: it deviates"), 40.0) == state


def test_a_poll_without_news_changes_nothing() -> None:
    """So nothing is written to flash either."""
    assert current(RUNNING, outcome("current", ONE), 99.0) == RUNNING
    down = Outcome(pipeline="p", result="failed", state="init", reason="server down")
    assert failed(failed(RUNNING, down, 30.0), down, 99.0) == failed(RUNNING, down, 30.0)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (RUNNING, "testing"),
        (RUNNING, "verifying"),
        (after(RUNNING, "pulling"), "staged"),
        (after(RUNNING, *STEPS), "pulling"),
    ],
)
def test_a_step_that_does_not_follow_is_refused(state: PipelineState, step: Step) -> None:
    """A puller that handled hostile bytes cannot talk the hub into anything."""
    with pytest.raises(IllegalTransition):
        after(state, step)


def test_only_what_was_staged_and_tested_is_activated() -> None:
    """Neither another digest nor nothing at all."""
    with pytest.raises(IllegalTransition):
        after(after(RUNNING, "pulling", "verifying", "staged"), "testing", slot=Slot("3.0.0", "3" * 64))
    with pytest.raises(IllegalTransition):
        pipeline_state.tested(after(RUNNING, *STEPS), outcome("tested", ONE), 20.0)
    with pytest.raises(IllegalTransition):
        activated(RUNNING, 20.0)
    with pytest.raises(IllegalTransition):
        current(after(RUNNING, "pulling"), outcome("current"), 20.0)


def test_rolling_back_brings_the_previous_bundle_and_refuses_the_bad_one() -> None:
    """From probation, and later from active."""
    probation = pipeline_state.tested(after(RUNNING, *STEPS), outcome("tested"), 20.0)
    for state in (
        rolled_back(probation, "it crashes", 30.0),
        rolled_back(activated(probation, 21.0), "it crashes", 30.0),
    ):
        assert (state.active, state.candidate, state.previous) == (ONE, None, None)
        assert state.update == UpdateState("rolled_back", "2.0.0", "it crashes", 30.0)
        assert state.refused == {TWO.digest: "it crashes"}
    with pytest.raises(IllegalTransition, match="no bundle to roll back to"):
        rolled_back(RUNNING, "it crashes", 30.0)


def test_the_memory_of_refused_bundles_is_bounded() -> None:
    """The oldest are forgotten; none of them is offered any more."""
    state = RUNNING
    for number in range(100):
        slot = Slot(f"{number}.0.0", str(number))
        state = failed(state, outcome("failed", slot, reason="no", set_aside=True), 30.0)
    assert len(state.refused) == 64 and "99" in state.refused


def test_a_candidate_in_the_shadow_is_promoted_or_makes_room_for_a_newer_one() -> None:
    """What a poll says of other bundles, or of a server that is away, does not disturb it."""
    shadow = pipeline_state.tested(after(RUNNING, *STEPS), outcome("tested"), 20.0, shadow=True)
    assert (shadow.update.state, shadow.serving, shadow.candidate) == ("shadow", ONE, TWO)
    away = Outcome(pipeline="p", result="failed", state="init", reason="server down")
    assert failed(shadow, away, 30.0) == current(shadow, outcome("current", TWO), 30.0) == shadow
    promoted = pipeline_state.promoted(shadow, 30.0)
    assert (promoted.update.state, promoted.serving, promoted.active) == ("probation", TWO, ONE)
    newer = Slot("3.0.0", "3" * 64)
    assert after(shadow, *STEPS, slot=newer).candidate == newer
    refused = failed(shadow, outcome("failed", reason="it disagrees", set_aside=True), 30.0)
    assert (refused.update.state, refused.candidate, refused.refused) == ("failed", None, {TWO.digest: "it disagrees"})


def test_a_candidate_that_waits_for_samples_is_not_disturbed_by_a_poll() -> None:
    """A source may be silent for days: what is newer is looked for meanwhile."""
    trial = pipeline_state.tested(after(RUNNING, *STEPS), outcome("tested"), 20.0)
    away = Outcome(pipeline="p", result="failed", state="init", reason="server down")
    assert failed(trial, away, 30.0) == current(trial, outcome("current", TWO), 30.0) == trial
    newer = Slot("3.0.0", "3" * 64)
    assert after(pipeline_state.stopped(trial), *STEPS, slot=newer).candidate == newer


def test_a_revoked_bundle_is_no_way_back() -> None:
    """What the publisher took back once stays so, whoever asks."""
    running = activated(pipeline_state.tested(after(RUNNING, *STEPS), outcome("tested"), 20.0), 21.0)
    told = pipeline_state.informed(pipeline_state.informed(running, {"1.0.0": "it leaks"}), {})
    with pytest.raises(IllegalTransition, match=r"1\.0\.0 is no way back, it was revoked: it leaks"):
        rolled_back(told, "asked for", 30.0)
    behind = pipeline_state.informed(running, {"1.5.0": "it leaks"})
    with pytest.raises(IllegalTransition, match=r"1\.0\.0 is no way back, it is older than 1\.5\.0, which was revoked"):
        rolled_back(behind, "asked for", 30.0)
    elsewhere = pipeline_state.informed(running, {"0.9.0": "old", "2.0.0": "what runs", "2.1.0": "newer than both"})
    for state in (running, elsewhere):
        assert rolled_back(state, "asked for", 30.0).active == ONE
