"""The modules whose rules are pure, which `make mutation` breaks, and the tests that are their own."""

from pathlib import Path
from typing import NamedTuple

PACKAGES = (Path("agent/maas_agent"), Path("converter/maas_converter"))


class Module(NamedTuple):
    """``source`` is below the folder that holds its package, ``tests`` is below the root of the project.

    ``leaving_out`` is an expression for pytest's ``-k``: tests that run a model take too long for each mutant.
    """

    source: Path
    tests: Path
    leaving_out: str = ""


def _of_the_agent(name: str) -> Module:
    """The tests mirror the source."""
    path = Path(name)
    return Module(Path("maas_agent", f"{name}.py"), Path("tests/agent", path.parent, f"test_{path.name}.py"))


MODULES: dict[str, Module] = {
    name: _of_the_agent(name)
    for name in (
        "bundle/desired_state",
        "hub/api/topics",
        "hub/mqtt/flow/answered",
        "hub/mqtt/backoff",
        "hub/mqtt/flow/broker_limits",
        "hub/mqtt/flow/in_flight",
        "hub/mqtt/keepalive",
        "hub/mqtt/flow/receive_window",
        "hub/outbox/rewrite",
        "hub/placement/quarantine",
        "hub/serving/dispatcher",
        "hub/serving/metrics",
        "hub/serving/reorder_buffer",
        "hub/system/log_limiter",
        "hub/takeover/answer_statistics",
        "hub/takeover/comparison",
        "hub/takeover/pipeline_state",
        "update/choose",
    )
} | {
    "hub/api/desired_state": Module(
        Path("maas_agent/hub/api/desired_state.py"), Path("tests/agent/hub/api/test_desired_states.py")
    ),
    "quantize/guard/rules": Module(
        Path("maas_converter/quantize/guard/rules.py"),
        Path("tests/converter/quantize/guard/test_rules.py"),
        leaving_out="resnet8 or a_model_that",
    ),
}
