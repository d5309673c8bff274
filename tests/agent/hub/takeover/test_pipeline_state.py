"""What a pipeline remembers of its bundles, and which transitions follow."""

from collections.abc import Callable
from typing import get_args

import msgspec
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
    progressed,
    rolled_back,
)
from maas_agent.trials.record import Trials
from maas_agent.trials.terms import Terms
from maas_agent.update.protocol import Outcome, PullProgress, State, Step
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
    with pytest.raises(IllegalTransition, match=r"^there is no bundle to roll back to$"):
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


# ------------------------------------------------------------------ every state and every event: docs/updates.md

ZERO = Slot("0.9.0", "0" * 64)
ALL: tuple[State, ...] = get_args(State)
UNFINISHED = ("pulling", "verifying", "staged", "testing", "shadow", "probation")
STEADY = ("init", "active", "failed", "rolled_back")


def at(state: State) -> PipelineState:
    """1.0.0 is active and 0.9.0 was before; an update to 2.0.0 has come so far."""
    candidate = TWO if state in ("staged", "testing", "shadow", "probation") else None
    return PipelineState(ONE, candidate, ZERO, UpdateState(state, "2.0.0", None, 1.0), interrupted={"x": 1})


def told(step: Step) -> Callable[[PipelineState], PipelineState]:
    return lambda state: progressed(state, PullProgress("p", step, "2.0.0", TWO.digest), 50.0)


FAILED = Outcome(pipeline="p", result="failed", state="testing", version="2.0.0", digest=TWO.digest, reason="no")
AWAY = Outcome(pipeline="p", result="failed", state="init", reason="the server is away")
EVENTS: dict[str, tuple[Callable[[PipelineState], PipelineState], dict[str, str]]] = {
    "it pulls": (told("pulling"), dict.fromkeys((*STEADY, "shadow"), "pulling")),
    "it verifies": (told("verifying"), {"pulling": "verifying"}),
    "it is staged": (told("staged"), {"verifying": "staged"}),
    "it is being tested": (told("testing"), {"staged": "testing"}),
    "it passed, for the shadow": (
        lambda state: pipeline_state.tested(state, outcome("tested"), 50.0, shadow=True),
        {"testing": "shadow"},
    ),
    "it passed": (
        lambda state: pipeline_state.tested(state, outcome("tested"), 50.0),
        {"testing": "probation", "shadow": "probation"},
    ),
    "it agreed": (
        lambda state: pipeline_state.promoted(state, 50.0),
        {"testing": "probation", "shadow": "probation"},
    ),
    "it took over": (lambda state: activated(state, 50.0), {"probation": "active"}),
    "it cannot serve": (lambda state: pipeline_state.refused(state, "no", 50.0), {"probation": "failed"}),
    "it is rolled back": (
        lambda state: rolled_back(state, "no", 50.0),
        dict.fromkeys(("probation", "active", "failed", "rolled_back"), "rolled_back"),
    ),
    "nothing is newer": (
        lambda state: current(state, outcome("current", ONE), 50.0),
        dict.fromkeys(STEADY, "active") | {"shadow": "shadow", "probation": "probation"},
    ),
    "it failed": (lambda state: failed(state, FAILED, 50.0), dict.fromkeys(ALL, "failed")),
    "the server is away": (
        lambda state: failed(state, AWAY, 50.0),
        dict.fromkeys(ALL, "failed") | {"shadow": "shadow", "probation": "probation"},
    ),
    "the agent ends": (pipeline_state.stopped, {state: state for state in STEADY} | dict.fromkeys(UNFINISHED, "init")),
}


@pytest.mark.parametrize("state", ALL)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_leads_where_it_may_and_nowhere_else(event: str, state: State) -> None:
    happens, leads = EVENTS[event]
    if state in leads:
        found = happens(at(state))
        assert found.update.state == leads[state]
        if leads[state] == state and (event == "the agent ends" or state in ("shadow", "probation")):
            assert found == at(state), "nothing is written"
        return
    refused = rf"^an update that is {state} cannot (become \w+|turn out to be current)$"
    with pytest.raises(IllegalTransition, match=refused):
        happens(at(state))


@pytest.mark.parametrize("state", UNFINISHED)
def test_what_is_not_finished_starts_over_with_the_time_it_had(state: State) -> None:
    assert pipeline_state.stopped(at(state)) == msgspec.structs.replace(
        at(state), candidate=None, update=UpdateState("init", None, None, 1.0)
    )


def test_each_transition_changes_what_it_is_about_and_nothing_else() -> None:
    new = msgspec.structs.replace
    tried = Trials(runtime="r", hardware="h", terms=Terms(), rows=())
    testing, shadow, probation, active = at("testing"), at("shadow"), at("probation"), at("active")
    passed = pipeline_state.tested(testing, outcome("tested", trials=tried), 50.0)
    two = Slot("2.0.0", TWO.digest, tried)
    assert passed == new(testing, candidate=two, update=UpdateState("probation", "2.0.0", None, 50.0))
    assert pipeline_state.promoted(shadow, 50.0) == new(shadow, update=UpdateState("probation", "2.0.0", None, 50.0))
    assert activated(passed, 51.0) == new(
        passed,
        active=two,
        candidate=None,
        previous=ONE,
        update=UpdateState("active", "2.0.0", None, 51.0),
        interrupted={},
    )
    bad = {TWO.digest: "it crashes"}
    assert pipeline_state.refused(probation, "it crashes", 50.0) == new(
        probation, candidate=None, update=UpdateState("failed", "2.0.0", "it crashes", 50.0), refused=bad
    )
    assert rolled_back(probation, "it crashes", 50.0) == new(
        probation, candidate=None, update=UpdateState("rolled_back", "2.0.0", "it crashes", 50.0), refused=bad
    )
    assert rolled_back(active, "it crashes", 50.0) == new(
        active,
        active=ZERO,
        previous=None,
        update=UpdateState("rolled_back", "1.0.0", "it crashes", 50.0),
        refused={ONE.digest: "it crashes"},
    )
    assert pipeline_state.tried_again(probation, TWO.digest, tried) == new(probation, candidate=two)
    assert pipeline_state.tried_again(probation, ONE.digest, tried) == new(
        probation, active=Slot("1.0.0", ONE.digest, tried)
    )
    assert pipeline_state.tried_again(probation, "3" * 64, tried) == probation


def test_what_the_puller_says_of_another_bundle_is_refused_in_words() -> None:
    staged = at("staged")
    with pytest.raises(IllegalTransition, match=r"^testing 3\.0\.0, but staged is another bundle$"):
        progressed(staged, PullProgress("p", "testing", "3.0.0", "3" * 64), 50.0)
    with pytest.raises(IllegalTransition, match=r"^tested 1\.0\.0, but the candidate is another bundle$"):
        pipeline_state.tested(at("testing"), outcome("tested", ONE), 50.0)
    lost = msgspec.structs.replace(at("probation"), candidate=None)
    with pytest.raises(IllegalTransition, match=r"^there is no candidate to become active$"):
        activated(lost, 50.0)


def test_the_bundle_is_the_candidate_from_the_moment_that_it_is_whole() -> None:
    found = [after(RUNNING, *STEPS[:number]).candidate for number in range(1, 5)]
    assert found == [None, None, TWO, TWO]


def test_nothing_newer_settles_on_what_is_active_and_says_what_was_passed_over() -> None:
    passed_over = outcome("current", ONE, reason="3.0.0 is set aside")
    assert current(RUNNING, passed_over, 50.0).update == UpdateState("active", "1.0.0", "3.0.0 is set aside", 50.0)
    assert current(PipelineState(), outcome("current"), 50.0).update == UpdateState("init", None, None, 0.0)
    for state in ("failed", "rolled_back"):
        assert current(at(state), passed_over, 50.0) == at(state)  # type: ignore[arg-type]
        mended = outcome("current", ONE, reason="it was brought again", mended=True)
        settled = UpdateState("active", "1.0.0", "it was brought again", 50.0)
        assert current(at(state), mended, 50.0).update == settled  # type: ignore[arg-type]


def test_a_failure_has_a_reason_and_refuses_only_what_it_names() -> None:
    without = msgspec.structs.replace(FAILED, reason=None, set_aside=True)
    found = failed(at("testing"), without, 50.0)
    assert found.update.reason == "no reason was given" and found.refused == {TWO.digest: "no reason was given"}
    assert failed(at("testing"), FAILED, 50.0).refused == {}
    assert failed(at("testing"), msgspec.structs.replace(AWAY, set_aside=True), 50.0).refused == {}


def test_a_bundle_that_fails_once_more_is_the_newest_of_the_refused() -> None:
    state = at("testing")
    for number in (*range(64), 0):
        slot = Slot("2.0.0", f"{number:064}")
        state = failed(state, outcome("failed", slot, reason=f"for the {number}th time", set_aside=True), 50.0)
    assert [int(digest) for digest in state.refused] == [*range(1, 64), 0]


def test_a_bundle_that_this_agent_cannot_read_is_no_way_back() -> None:
    standing_in = msgspec.structs.replace(at("active"), stands_in_for=ZERO.digest)
    said = r"^0\.9\.0 is no way back, this agent cannot read it: install the newer one again$"
    with pytest.raises(IllegalTransition, match=said):
        rolled_back(standing_in, "no", 50.0)
    assert rolled_back(msgspec.structs.replace(at("probation"), stands_in_for=ZERO.digest), "no", 50.0).active == ONE


def test_a_bundle_on_probation_when_the_device_went_down_three_times_is_set_aside() -> None:
    probation = msgspec.structs.replace(at("probation"), interrupted={})
    for count in (1, 2):
        again = pipeline_state.started_over(probation)
        assert again == msgspec.structs.replace(
            probation, candidate=None, update=UpdateState(since=1.0), interrupted={TWO.digest: count}
        )
        probation = msgspec.structs.replace(probation, interrupted=again.interrupted)
    reason = "the device went down 3 times while it was on probation"
    assert pipeline_state.started_over(probation) == msgspec.structs.replace(
        probation,
        candidate=None,
        update=UpdateState("rolled_back", "2.0.0", reason, 1.0),
        refused={TWO.digest: reason},
        interrupted={},
    )
    first = msgspec.structs.replace(probation, active=None)
    assert pipeline_state.started_over(first) == pipeline_state.stopped(first), "there is nothing else to serve"
    for state in ("shadow", "testing", "active"):
        assert pipeline_state.started_over(at(state)) == pipeline_state.stopped(at(state))  # type: ignore[arg-type]


def test_what_serves_is_the_candidate_only_on_probation() -> None:
    assert [at(state).serving for state in ALL] == [TWO if state == "probation" else ONE for state in ALL]
    assert msgspec.structs.replace(at("probation"), candidate=None).serving == ONE
    assert at("probation").digests() == {ZERO.digest, ONE.digest, TWO.digest}
    assert PipelineState().digests() == set() and PipelineState().serving is None
