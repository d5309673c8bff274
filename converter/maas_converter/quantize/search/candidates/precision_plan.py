"""What a candidate is: a way to quantize the whole model, and what differs from it.

A plan is small, has a name, and always makes the same bytes: the journal keeps plans, not models.
"""

from typing import Literal

import msgspec

Precision = Literal["int4", "int8", "int16", "float"]
Whole = Literal["int8", "int16x8", "dynamic", "float16", "float32"]


class Change(msgspec.Struct, frozen=True, order=True):
    """One op that is treated in another way than the rest."""

    op: int
    """Its index in the model's graph."""
    precision: Precision
    """``int4``: weights of 4 bits, activations of 8; ``int16``: 8 and 16; ``float``: as it is."""
    algorithm: str = "min-max"
    """How weights are rounded: a name in `search.layers.ALGORITHMS`, or ``gptq`` (`search.rounding`)."""


class Clip(msgspec.Struct, frozen=True, order=True):
    """One tensor whose range is smaller than what calibration saw: rare values are cut, all others get finer steps."""

    tensor: int
    """Its index in the model's graph."""
    percent: int
    """What is left of the range."""


class PrecisionPlan(msgspec.Struct, frozen=True):
    """Which precision each op of a candidate has: that of the whole, and what differs from it."""

    whole: Whole
    changes: tuple[Change, ...] = ()
    clips: tuple[Clip, ...] = ()

    @property
    def key(self) -> str:
        """The plan as one word, the same for the same plan."""
        changes = (f"{change.op}:{change.precision}:{change.algorithm}" for change in self.changes)
        return "+".join([self.whole, *changes, *(f"t{clip.tensor}:{clip.percent}" for clip in self.clips)])

    @property
    def title(self) -> str:
        """The plan in words, without the names of ops."""
        counts = {
            precision: sum(1 for change in self.changes if change.precision == precision)
            for precision in ("int4", "int8", "int16", "float")
        }
        parts = [f"{count} op{'s' * (count > 1)} {precision}" for precision, count in counts.items() if count]
        return ", ".join([str(self.whole), *(["ranges clipped"] if self.clips else []), *parts])

    def with_changes(self, changes: tuple[Change, ...]) -> "PrecisionPlan":
        """This plan and more changes; an op that is changed already takes the new one."""
        merged = {change.op: change for change in (*self.changes, *changes)}
        return PrecisionPlan(self.whole, tuple(sorted(merged.values())), self.clips)

    def with_clip(self, tensor: int, percent: int) -> "PrecisionPlan":
        """This plan with another range of one tensor; 100 percent is what calibration saw."""
        others = [clip for clip in self.clips if clip.tensor != tensor]
        mine = [Clip(tensor, percent)] if percent != 100 else []
        return PrecisionPlan(self.whole, self.changes, tuple(sorted([*others, *mine])))


INT8 = PrecisionPlan("int8")
"""Plain int8, as it would be without a search."""
FLOAT32 = PrecisionPlan("float32")
REFERENCES = (INT8, PrecisionPlan("int16x8"), PrecisionPlan("dynamic"), PrecisionPlan("float16"), FLOAT32)
"""Models without mixed precision, which every search measures: the frame of the picture."""
