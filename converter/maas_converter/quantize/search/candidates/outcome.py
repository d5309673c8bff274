"""What a search is asked for, and what it found."""

import msgspec

from maas_agent.errors import UsageError
from maas_converter.quantize.search.candidates.precision_plan import PrecisionPlan

_LEAST_DROP = 0.0


class SearchLimits(msgspec.Struct, frozen=True):
    """The budgets. What is ``None`` is not limited."""

    max_drop: float = 1.0
    """Points that may be lost against the float model; what a point is, `LossCriterion` says."""
    max_size: int | None = None
    """Bytes of the ``.tflite`` file."""
    max_latency: float | None = None
    """Milliseconds, median of single inferences, one thread, on this machine."""

    integer_io: bool = False
    """Whether inputs and outputs have to be int8: no dynamic, 16-bit or float model then."""

    def check(self) -> None:
        """Raise `UsageError` for a budget that nothing can meet."""
        if not self.max_drop >= _LEAST_DROP:
            raise UsageError(f"--max-drop {self.max_drop}: give points that may be lost, 0 or more")
        if self.max_size is not None and self.max_size < 1:
            raise UsageError(f"--max-size {self.max_size}: give bytes, 1 or more")
        if self.max_latency is not None and not self.max_latency > 0:
            raise UsageError(f"--max-latency {self.max_latency}: give milliseconds, more than 0")


class Candidate(msgspec.Struct, frozen=True):
    """One model that was measured."""

    plan: PrecisionPlan
    title: str
    size: int
    """Bytes of the ``.tflite`` file."""
    noise: float
    """Squared error of its outputs over their variance, on the search part: 0 is the float model."""
    drop_points: float
    """Points lost on the validation part, where it is below 0 won."""
    interval_points: tuple[float, float]
    """95 % confidence interval of ``drop_points``."""
    p50_ms: float = 0.0
    """Median latency; 0 where it was not measured."""
    ratio: float = 0.0
    """Latency over that of plain int8, measured in turns with it; 0 where it was not measured."""


class HeldOut(msgspec.Struct, frozen=True):
    """The chosen model on the part of the data that the search never saw."""

    samples: int
    drop_points: float
    interval_points: tuple[float, float]
    looks: int
    """How many candidates this part has judged, the chosen one included: each look makes it a little less unseen."""


class SearchOutcome(msgspec.Struct, frozen=True):
    """The outcome of a search that met its budgets."""

    tflite: bytes
    chosen: Candidate
    precision: dict[str, str]
    """By op, what differs from int8; a model that is no int8 one at all has the single entry ``*``."""
    candidates: tuple[Candidate, ...]
    """All that were judged on the validation part, smallest first."""
    pareto: tuple[Candidate, ...]
    """Those that no other one beats in size, latency and accuracy at once, smallest first."""
    held_out: HeldOut
    evaluations: int
    """Models run in this search."""
    resumed: int
    """Measurements found in the journal of an earlier search with the same inputs, and not repeated."""
    notes: tuple[str, ...]
