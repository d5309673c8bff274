"""Chooses which combinations are worth measuring: pure rules over what single ops showed.

Noise of ops adds up, near enough; so do bytes saved. A combination is chosen by sums and then measured as it is.
"""

import msgspec

from maas_converter.quantize.search.candidates.precision_plan import Change

_LEAST_NOISE = 1e-6
"""Less cannot be told from none: an op may even gain by chance."""

_PREFIXES = 12
_COVERS = 4

_MARGIN = 64
"""Bytes more than needed: sums do not know how a file is aligned."""


class Step(msgspec.Struct, frozen=True):
    """One op made smaller: what that saves, and what it costs."""

    change: Change
    saved: int
    """Bytes of the file."""
    noise: float
    """Added to int8's."""

    @property
    def price(self) -> float:
        """Noise for a byte."""
        return max(self.noise, _LEAST_NOISE) / self.saved


def ordered(steps: list[Step]) -> list[Step]:
    """Greedy: the least noise for a byte first; steps that save nothing are left out."""
    return sorted((step for step in steps if step.saved > 0), key=lambda step: (step.price, step.change))


def prefixes(steps: list[Step]) -> list[tuple[Change, ...]]:
    """The first so many of ``ordered`` steps; where they are many, an even choice of these that has the longest."""
    counts = range(1, len(steps) + 1)
    if len(steps) > _PREFIXES:
        counts = sorted({round(len(steps) * part / _PREFIXES) for part in range(1, _PREFIXES + 1)})  # type: ignore[assignment]
    return [_changes(steps[:count]) for count in counts]


def covers(steps: list[Step], need: int) -> list[tuple[Change, ...]]:
    """The sets that save ``need`` bytes for the least noise, best first; empty if all steps together save less.

    Greedy alone overshoots where one large op would do. So it starts once from nothing and once from each step, and
    each result gives back what it can spare, the noisiest first.
    """
    steps = ordered(steps)
    starts: list[list[Step]] = [[], *([step] for step in steps)]
    found = {
        _changes(chosen): sum(step.noise for step in chosen)
        for start in starts
        if (chosen := _fill(start, steps, need))
    }
    return sorted(found, key=lambda changes: (found[changes], changes))[:_COVERS]


def doubling(count: int) -> list[int]:
    """1, 2, 4 … and ``count``."""
    sizes = []
    size = 1
    while size < count:
        sizes.append(size)
        size *= 2
    return [*sizes, count] if count else []


def _fill(start: list[Step], steps: list[Step], need: int) -> list[Step]:
    chosen, wanted = list(start), need + _MARGIN
    for step in steps:
        if _saved(chosen) >= wanted:
            break
        if step not in chosen:
            chosen.append(step)
    if _saved(chosen) < need:
        return []
    for step in sorted(chosen, key=lambda step: (-step.noise, step.change)):
        if _saved(chosen) - step.saved >= wanted:
            chosen.remove(step)
    return chosen


def _saved(steps: list[Step]) -> int:
    return sum(step.saved for step in steps)


def _changes(steps: list[Step]) -> tuple[Change, ...]:
    return tuple(sorted(step.change for step in steps))
