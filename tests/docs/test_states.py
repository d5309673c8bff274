"""docs/states.md has the rows that the unit tests play, in their order, and says what happens in each."""

import pytest

from tests.agent.hub.api.test_desired_states import DESIRED
from tests.agent.hub.pipeline.test_supervisor_states import SUPERVISOR
from tests.agent.hub.pipeline.test_takeover_states import TAKEOVER
from tests.agent.hub.placement.test_placement_states import PLACEMENT
from tests.agent.hub.rows import Rows
from tests.agent.hub.serving.test_switch_states import SWITCH
from tests.agent.hub.serving.test_worker_pool import POOL
from tests.agent.hub.updates.test_scheduler_states import UPDATES
from tests.docs.pages import rows, section

PAGE = "docs/states.md"
MACHINES = {
    "Switch": SWITCH,
    "Worker pool": POOL,
    "Supervisor": SUPERVISOR,
    "Takeover": TAKEOVER,
    "Placement": PLACEMENT,
    "Updates": UPDATES,
    "Desired states": DESIRED,
}


@pytest.mark.parametrize("name", MACHINES)
def test_every_row_is_played(name: str) -> None:
    played: Rows = MACHINES[name]
    described = rows(section(PAGE, f"## {name}"))
    assert [(state, event) for state, event, _ in described] == list(played)
    assert all(happens for *_, happens in described)


def test_every_machine_on_the_page_is_played() -> None:
    headings = [line.removeprefix("## ") for line in section(PAGE, "# State").splitlines() if line.startswith("## ")]
    assert headings == list(MACHINES)
