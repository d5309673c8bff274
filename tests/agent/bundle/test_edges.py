"""Rules of a graph of stages, on names alone."""

import pytest

from maas_agent.bundle.edges import always_made, check_answers, check_stages, stand_ins
from maas_agent.bundle.manifest import Stage, When
from maas_agent.errors import BundleError


def stage(name: str, takes: str, makes: str, condition: str = "") -> Stage:
    when = When(condition, below=0.5) if condition else None
    return Stage(name, "0" * 64, 1, tuple(takes.split()), tuple(makes.split()), when)


CASCADE = (
    stage("tiny", "x", "a"),
    stage("small", "x", "b", "a"),
    stage("head", "b", "c"),
    stage("large", "x", "d", "c"),
    stage("free", "a", "e"),
)


def test_what_a_condition_may_skip_is_not_always_made_and_nothing_that_needs_it() -> None:
    assert always_made(CASCADE, ["x"]) == {"x", "a", "e"}


def test_edges_stand_in_one_after_the_other() -> None:
    otherwise = {"d": "c", "c": "b", "b": "a", "e": ""}
    assert stand_ins("d", otherwise) == ("c", "b", "a")
    assert stand_ins("e", otherwise) == stand_ins("unknown", otherwise) == ()


@pytest.mark.parametrize(
    ("otherwise", "answered"),
    [
        ({"a": ""}, True),
        ({"d": "a"}, True),
        ({"d": "", "e": ""}, True),
        ({"d": "c", "c": "a"}, True),
        ({"d": "c", "c": ""}, False),
        ({"d": "c"}, False),
        ({"d": ""}, False),
    ],
)
def test_there_has_to_be_an_answer_to_every_sample(otherwise: dict[str, str], answered: bool) -> None:
    check_stages(CASCADE, ["x"])
    if answered:
        check_answers(CASCADE, ["x"], otherwise)
    else:
        with pytest.raises(BundleError, match="no output is always made"):
            check_answers(CASCADE, ["x"], otherwise)


def test_a_stage_that_needs_a_later_one_is_refused() -> None:
    with pytest.raises(BundleError, match=r"stage 'head' needs \['b'\]"):
        check_stages(CASCADE[::2], ["x"])


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -float("inf")])
def test_a_bound_that_no_number_reaches_is_refused(bound: float) -> None:
    never = Stage("never", "0" * 64, 1, ("x",), ("y",), When("x", at_least=bound))
    with pytest.raises(BundleError, match="has to be finite"):
        check_stages([never], ["x"])
