"""States and outcomes that the tests of a pipeline's state begin with."""

from maas_agent.hub.takeover.pipeline_state import (
    PipelineState,
    Slot,
    UpdateState,
    progressed,
)
from maas_agent.update.protocol import Outcome, PullProgress, Step

STEPS: tuple[Step, ...] = ("pulling", "verifying", "staged", "testing")
ONE, TWO = Slot("1.0.0", "1" * 64), Slot("2.0.0", "2" * 64)
RUNNING = PipelineState(active=ONE, update=UpdateState("active", "1.0.0", None, 1.0))


def outcome(result: str, slot: Slot = TWO, **fields: object) -> Outcome:
    """What a puller says at the end, of ``slot``."""
    return Outcome(pipeline="p", result=result, state="testing", version=slot.version, digest=slot.digest, **fields)  # type: ignore[arg-type]


def after(state: PipelineState, *steps: Step, slot: Slot = TWO) -> PipelineState:
    """The state after these steps of an update to ``slot``."""
    for number, step in enumerate(steps, 10):
        state = progressed(state, PullProgress("p", step, slot.version, slot.digest), float(number))
    return state
