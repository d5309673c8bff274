"""Checks a graph of stages: what each stage needs is made before it, and there is always an answer.

They look at names only, so that a graph can be checked before its models are read. All raise `BundleError`.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Protocol

from maas_agent.errors import BundleError


class Condition(Protocol):
    """What decides whether a stage runs: a bound on an edge."""

    @property
    def edge(self) -> str:
        """The edge whose value decides."""

    @property
    def at_least(self) -> float | None:
        """The stage runs at this value or above it."""

    @property
    def below(self) -> float | None:
        """The stage runs below this value."""


class NamedStage(Protocol):
    """A stage as these rules see it: a name, and the names of its edges."""

    @property
    def name(self) -> str:
        """The stage's own."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The edges it takes."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The edges it makes."""

    @property
    def when(self) -> Condition | None:
        """The condition it runs on; ``None``: always."""


def check_stages(stages: Sequence[NamedStage], given: Iterable[str]) -> None:
    """Each stage uses only edges that are ``given`` or made before it, and makes edges that nothing else makes."""
    known, names = set(given), set[str]()
    for stage in stages:
        if stage.name in names:
            raise BundleError(f"two stages are called {stage.name!r}")
        names.add(stage.name)
        missing = set(stage.inputs) - known
        if missing:
            raise BundleError(f"stage {stage.name!r} needs {sorted(missing)}, which nothing before it makes")
        if stage.when is not None:
            check_condition(stage.name, stage.when, known)
        for edge in stage.outputs:
            if edge in known:
                raise BundleError(f"stage {stage.name!r} makes {edge!r}, which is there already")
            known.add(edge)


def check_condition(stage: str, when: Condition, known: set[str]) -> None:
    """A condition is one bound, on an edge made before the stage."""
    if when.edge not in known:
        raise BundleError(f"stage {stage!r} has a condition on {when.edge!r}, which nothing before it makes")
    bounds = [bound for bound in (when.at_least, when.below) if bound is not None]
    if len(bounds) != 1:
        raise BundleError(f"stage {stage!r}: a condition has either at_least or below")
    if not isfinite(bounds[0]):
        raise BundleError(f"stage {stage!r} has a condition with the bound {bounds[0]}: it has to be finite")


def check_answers(stages: Sequence[NamedStage], given: Iterable[str], otherwise: Mapping[str, str]) -> None:
    """There is an answer to every sample. ``otherwise`` has, for each output, what stands in for it ('': nothing)."""
    made = {edge for stage in stages for edge in stage.outputs} | set(given)
    absent = set(otherwise) - made
    if absent:
        raise BundleError(f"outputs {sorted(absent)} are made by no stage")
    for output in otherwise:
        for edge in stand_ins(output, otherwise):
            if edge not in made:
                raise BundleError(f"output {output!r} has otherwise = {edge!r}, which no stage makes")
    sure = always_made(stages, given)
    if not any(edge in sure for output in otherwise for edge in (output, *stand_ins(output, otherwise))):
        raise BundleError(
            "no output is always made: there would be samples without any answer; name an edge that is made "
            "without a condition as an output, or as the otherwise of one"
        )


def stand_ins(output: str, otherwise: Mapping[str, str]) -> tuple[str, ...]:
    """The edges that stand in for an output, best first: its own ``otherwise``, then that of this edge, and so on."""
    chain = [output]
    while following := otherwise.get(chain[-1], ""):
        if following in chain:
            raise BundleError(f"output {output!r} would stand in for itself: {' → '.join([*chain, following])}")
        chain.append(following)
    return tuple(chain[1:])


def always_made(stages: Sequence[NamedStage], given: Iterable[str]) -> set[str]:
    """Edges that no condition can take away; ``stages`` are in order."""
    sure = set(given)
    for stage in stages:
        if stage.when is None and sure.issuperset(stage.inputs):
            sure.update(stage.outputs)
    return sure
