"""Every target under some hundred hostile inputs, the same every time; and under those that once were too much."""

import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.edits import Edit, edited
from tests.fuzz.registry import Target, attempt
from tests.fuzz.targets import TARGETS

EXAMPLES = 150
REGRESSIONS = Path(__file__).with_name("regressions")
KEPT = sorted(path for folder in REGRESSIONS.iterdir() for path in folder.iterdir())

_EDITS = st.lists(
    st.builds(
        Edit,
        st.integers(0, 255),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=4,
)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Good inputs after some edits, and now and then bytes that never were one."""
    good = st.builds(edited, st.sampled_from(target.seeds()), st.just(target.form), _EDITS, st.just(target.words))
    return st.one_of(good, good, good, st.binary(max_size=200))


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_come_of_hostile_inputs(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=max(20, int(EXAMPLES * target.share)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @given(inputs(target))
    def tried(data: bytes) -> None:
        attempt(target, data)

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # zipfile, of an entry that is there twice
        tried()


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_taken(name: str) -> None:
    """At least one of the seeds: else all that is tried is refused at the door."""
    target = TARGETS[name]
    if name in REFUSES_ALL:
        return
    taken = 0
    for seed in target.seeds():
        try:
            target.feed(seed)
            taken += 1
        except target.raises:
            continue
    assert taken


REFUSES_ALL = {"update.signature", "update.trust"}
"""Whose inputs nobody signed."""


@pytest.mark.parametrize("path", KEPT, ids=[f"{path.parent.name}/{path.name}" for path in KEPT])
def test_what_once_was_too_much_is_not_any_more(path: Path) -> None:
    attempt(TARGETS[path.parent.name], path.read_bytes())
