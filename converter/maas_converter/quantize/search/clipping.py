"""Ranges of activations that lose least: smaller than the full range where the largest values are rare.

It costs neither bytes nor time, and is decided by what comes out of the model, not by each tensor's own error: one
tensor after another is narrowed as long as that lowers the noise on the search part.
"""

from collections.abc import Sequence

import numpy as np

from maas_converter.base.console import Progress
from maas_converter.quantize.search.candidates.precision_plan import INT8, PrecisionPlan
from maas_converter.quantize.search.measuring.cache import MeasurementCache

_RUNGS = (100, 95, 90, 80, 70, 60, 50, 40)
"""Percent of the range that calibration saw."""

_PASSES = 2
"""What one tensor wants depends on the others."""

_PATIENCE = 1
"""Rungs without effect to pass over: what is cut at one may come back with the next."""

_WORTHWHILE = 0.995
"""Share of the noise that a change has to reach: less is chance."""


def clipped(cache: MeasurementCache, tensors: Sequence[int], progress: Progress) -> PrecisionPlan:
    """int8 with the ranges of ``tensors``, indexes in order of execution, as far narrowed as it helps."""
    plan = INT8
    for number in range(_PASSES):
        for index in progress.track(f"ranges of activations, {number + 1} of {_PASSES}", np.array(tensors)):
            plan = _narrowed(cache, plan, int(index))
    return plan


def _narrowed(cache: MeasurementCache, plan: PrecisionPlan, tensor: int) -> PrecisionPlan:
    """The best rung near the present one: down as long as that helps, else up."""
    present = _RUNGS.index(next((clip.percent for clip in plan.clips if clip.tensor == tensor), 100))
    for rungs in (range(present + 1, len(_RUNGS)), range(present - 1, -1, -1)):
        best, misses = plan, 0
        for rung in rungs:
            trial = plan.with_clip(tensor, _RUNGS[rung])
            best, misses = (trial, 0) if _better(cache, trial, best) else (best, misses + 1)
            if misses > _PATIENCE:
                break
        if best != plan:
            return best
    return plan


def _better(cache: MeasurementCache, trial: PrecisionPlan, best: PrecisionPlan) -> bool:
    made, present = cache.made(trial), cache.made(best)
    return made is not None and present is not None and made.noise < present.noise * _WORTHWHILE
