"""What is tried, and in which order; what is best."""

import pytest

from maas_agent.runtime.machine import AcceleratorFinding
from maas_agent.runtime.setup import Setup
from maas_agent.trials.plan import more_precise, setups
from maas_agent.trials.record import Trial, Trials, ranked
from maas_agent.trials.terms import Terms

FOUND = [
    AcceleratorFinding("cpu", "ai-edge-litert 2.3.0"),
    AcceleratorFinding("gpu", "Vulkan"),
    AcceleratorFinding("npu", missing="there is none"),
    AcceleratorFinding("delegate:/usr/lib/libedgetpu.so.1", "Coral"),
]


def shown(terms: Terms, cores: int = 4) -> list[str]:
    return [str(setup) for setup in setups(terms, FOUND, cores)]


def test_auto_tries_the_processor_first_and_then_all_that_was_found() -> None:
    assert shown(Terms()) == ["cpu", "cpu, 2 threads", "cpu, 4 threads", "gpu", "delegate:/usr/lib/libedgetpu.so.1"]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (64, [1, 2, 4])])
def test_no_more_threads_are_tried_than_there_are_cores(cores: int, counts: list[int]) -> None:
    assert [setup.threads for setup in setups(Terms("cpu"), [], cores)] == counts


def test_threads_that_were_asked_for_are_the_only_ones() -> None:
    assert shown(Terms("auto", 3))[0] == "cpu, 3 threads"
    assert {setup.threads for setup in setups(Terms("auto", 3), FOUND, 4)} == {3}


def test_a_named_accelerator_is_tried_with_its_options_and_the_processor_beside_it() -> None:
    assert shown(Terms("gpu", 1, {"precision": "f32"})) == ["cpu", "gpu (precision=f32)"]
    assert shown(Terms("delegate:/x.so", 1)) == ["cpu", "delegate:/x.so"]


def test_a_gpu_that_strayed_is_tried_again_in_32_bits_and_nothing_else_is() -> None:
    assert more_precise(Setup("gpu")) == Setup("gpu", 1, {"precision": "f32"})
    assert more_precise(Setup("gpu", 1, {"precision": "f16"})) is None
    assert more_precise(Setup("cpu")) is None


def row(accelerator: str, p50_ms: float | None, threads: int = 1, refused: str | None = None) -> Trial:
    return Trial(setup=Setup(accelerator, threads), p50_ms=p50_ms, refused=refused)


@pytest.mark.parametrize(("two", "four", "best"), [(1.95, 1.85, 1), (1.7, 1.6, 2), (1.7, 1.5, 4), (2.5, 1.0, 4)])
def test_more_threads_have_to_be_worth_it(two: float, four: float, best: int) -> None:
    rows = [row("cpu", 2.0, 1), row("cpu", two, 2), row("cpu", four, 4)]
    assert ranked(rows)[0].setup.threads == best
    assert {trial.setup.threads for trial in ranked(rows)} == {1, 2, 4}


def test_the_fastest_that_passed_is_best_and_of_equals_that_with_fewer_threads() -> None:
    rows = (row("npu", 0.1, refused="it strayed"), row("cpu", 2.0, 4), row("cpu", 2.0, 1), row("gpu", 3.0))
    assert [(trial.setup.accelerator, trial.setup.threads) for trial in ranked(rows)] == [
        ("cpu", 1), ("gpu", 1), ("cpu", 4),
    ]  # fmt: skip
    trials = Trials("r", "h", Terms(), rows)
    assert trials.best() == rows[2]
    assert trials.best({"cpu"}) == rows[3]
    assert trials.best({"cpu", "gpu"}) is None


def test_what_was_asked_for_is_best_even_where_the_processor_is_faster() -> None:
    trials = Trials("r", "h", Terms("gpu"), (row("cpu", 1.0), row("gpu", 3.0)))
    assert trials.best() == trials.rows[1]
    assert trials.best({"gpu"}) == trials.rows[0]
