"""Guard rules that ask the float model: does it recognise the calibration data, and does it begin with a scale?"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maas_converter.quantize.guard.finding import CalibrationFinding, CheckedData, Scaling, percent
from maas_converter.quantize.guard.input_statistics import InputStatistics

_FEWEST = 20
"""Fewer answers than that do not show which classes a model names."""

_COLLAPSED = 0.95
"""Share of answers that name one class, where evaluation data says they should not."""

_FEW_NAMED = 0.7
"""Share of the most frequent answer on evaluation data, below which its answers count as varied."""

_LEAST_VARIED = 0.25
"""Share of its classes that a model should name, where no evaluation data says how many (or that share of n / 10)."""

_MARGIN = 0.15
"""How far above chance, as a share of what is left to 1, a model that recognises nothing may seem to be."""

_SHRINKS, _TOO_SMALL = 0.1, 0.1
"""A model whose first step multiplies by the first of these or less wants large values, which then reach the second."""

_Z = 1.959963984540054


class _Recognised(NamedTuple):
    """Mean share of each class's samples that is recognised, as fractions, and its 95 % interval."""

    share: float
    low: float
    high: float
    chance: float


def own_scaling(statistics: InputStatistics, scaling: Scaling | None) -> CalibrationFinding | None:
    """The model divides by 255 or so itself, and was given values that were divided already."""
    if scaling is None or abs(scaling.scale) > _SHRINKS:
        return None
    reach = max(abs(value * scaling.scale + scaling.offset) for value in (statistics.low, statistics.high))
    if scaling.offset:
        reach = min(reach, abs(scaling.scale) * (statistics.high - statistics.low))
    if reach >= _TOO_SMALL:
        return None
    what = (
        f"the model itself begins with x * {scaling.scale:.4g} + {scaling.offset:.4g}, so it wants values up to about "
        f"{1 / abs(scaling.scale):.4g}, and calibration values lie in {statistics.range}"
    )
    return CalibrationFinding(
        "scaled-twice", what, "they are scaled twice: leave that step out of --preprocess or the data file"
    )


def recognition(calibration: CheckedData, evaluation: CheckedData | None, classes: int) -> CalibrationFinding | None:
    """The float model at chance on data whose classes are known, or far below what it reaches on evaluation data."""
    here = _recognised(calibration) if classes >= 2 else None
    if here is None:
        return None
    there = _recognised(evaluation) if evaluation is not None else None
    if here.low <= here.chance and here.high < here.chance + _MARGIN * (1 - here.chance):
        what = (
            f"the float model itself recognises {percent(here.share)} of the calibration samples (chance: "
            f"{percent(here.chance)}): its input is probably scaled wrongly: "
            f"values lie in {calibration.statistics.range}"
        )
        advice = (
            "models are often trained on 0 to 255, 0 to 1 or -1 to 1: see --preprocess; or the classes 'y' are "
            "numbered otherwise than the model's"
        )
        return CalibrationFinding("chance", what, advice)
    if there is None or here.high >= (there.chance + there.low) / 2:
        return None
    what = (
        f"the float model recognises {percent(here.share)} of the calibration samples and {percent(there.share)} "
        "of the evaluation samples"
    )
    advice = "see whether both files have the same scale, channel order and class numbers"
    return CalibrationFinding("recognition", what, advice)


def _recognised(side: CheckedData) -> _Recognised | None:
    """Mean recall of the classes there are (Agresti and Coull's interval of each); ``None`` without two of them."""
    if side.y is None or side.scores is None or len(np.unique(side.y)) < 2:
        return None
    right = np.argmax(side.scores, axis=1) == side.y
    numbers = np.unique(side.y)
    counts = np.array([np.sum(side.y == number) for number in numbers])
    hits = np.array([np.sum(right & (side.y == number)) for number in numbers])
    shares = (hits + _Z**2 / 2) / (counts + _Z**2)
    half = _Z * sqrt(float(np.sum(shares * (1 - shares) / (counts + _Z**2)))) / len(numbers)
    share = float(np.mean(hits / counts))
    return _Recognised(share, share - half, share + half, 1 / len(numbers))


def collapse(calibration: CheckedData, evaluation: CheckedData | None, classes: int) -> CalibrationFinding | None:
    """The float model names one class for everything: without ``y`` the only sign of one class, or of a wrong scale."""
    if calibration.scores is None or classes < 2 or len(calibration.scores) < _FEWEST:
        return None
    here = _most_named(calibration)
    count = len(calibration.scores)
    advice = "calibrate with samples of every class; if these are, their scale is wrong: see --preprocess"
    if evaluation is None or evaluation.scores is None:
        # Of two classes one may be rare, and nobody says here that it is not.
        if classes == 2 or _varied(calibration) >= _LEAST_VARIED * min(classes, count / 10):
            return None
        what = f"the float model names {_named(calibration)} of its {classes} classes for {count} calibration samples"
        return CalibrationFinding("collapse", what, advice)
    there = _most_named(evaluation)
    if here[1] < _COLLAPSED or there[1] >= _FEW_NAMED:
        return None
    what = (
        f"the float model names class {here[0]} for {percent(here[1])} of the calibration samples, "
        f"and no class for more than {percent(there[1])} of the evaluation samples"
    )
    return CalibrationFinding("collapse", what, advice)


def _varied(side: CheckedData) -> float:
    """How many classes the answers are spread over: the exponential of their entropy."""
    shares = _counts(side) / _counts(side).sum()
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _named(side: CheckedData) -> str:
    number = int(np.sum(_counts(side) > 0))
    return f"only {number}" if number > 1 else "one"


def _counts(side: CheckedData) -> NDArray[np.int64]:
    scores = side.scores if side.scores is not None else np.empty((0, 1), np.float32)
    return np.bincount(np.argmax(scores, axis=1), minlength=1)


def _most_named(side: CheckedData) -> tuple[int, float]:
    counts = _counts(side)
    return int(counts.argmax()), float(counts.max() / counts.sum())
