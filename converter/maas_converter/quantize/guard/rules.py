"""The calibration guard: is this data what the model will be given? Rules over arrays, each with its threshold.

Ranges measured on wrong data make a model that is wrong without a word: pixels divided by 255 once too often take
ResNet-8 from 75 % to 10 %. Each rule looks for a gross mistake, a wrong scale or half a data set, and for nothing
finer: calibration data may well be other data than what a model is evaluated on.
"""

from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.quantize.guard.finding import CalibrationFinding, CheckedData, Scaling, percent
from maas_converter.quantize.guard.input_statistics import InputStatistics
from maas_converter.quantize.guard.recognition import collapse, own_scaling, recognition

_FEW = 10
"""Fewer samples than that hardly show what ranges there are."""

_APART = 0.45
"""Largest distance of two distribution functions (Kolmogorov and Smirnov) that other data of one kind may have."""

_CHANCE = 1e-6
"""How probable it may be that two draws from the same data are told apart: few samples may be further apart."""

_FACTOR = 3.0
"""How many times larger values may vary within one data set's samples than within the other's."""

_NEARLY = 0.1
_KNOWN_FACTORS = {255.0: "255", 127.5: "127.5", 32768.0: "32768", 65025.0: "255 twice"}


def findings(
    calibration: CheckedData, evaluation: CheckedData | None, classes: int, scaling: Scaling | None = None
) -> tuple[CalibrationFinding, ...]:
    """What speaks against calibrating with ``calibration``; empty if nothing does.

    ``classes`` is how many the model tells apart, 0 if its task is another one; ``scaling`` what the model itself
    begins with, if it is known (`maas_converter.quantize.guard.scaling`).
    """
    if calibration.statistics.samples == 0:
        return (CalibrationFinding("empty", "calibration holds no samples", "give --calibration data with samples"),)
    if calibration.statistics.not_finite:
        return (_not_finite(calibration.statistics),)
    found = [
        _count(calibration.statistics),
        _identical(calibration.statistics),
        _one_class(calibration, evaluation, classes),
    ]
    if evaluation is not None and evaluation.statistics.channels:
        found.append(_distribution(calibration.statistics, evaluation.statistics))
    if not any(finding is not None and finding.refuses for finding in found):
        # What the model makes of the data says less than the data: it is asked where they say nothing.
        found += [own_scaling(calibration.statistics, scaling), recognition(calibration, evaluation, classes)]
    if not any(finding is not None and finding.refuses for finding in found):
        found.append(collapse(calibration, evaluation, classes))
    return tuple(finding for finding in found if finding is not None)


def enforce(found: tuple[CalibrationFinding, ...], force: bool) -> tuple[str, ...]:
    """The sentences of what refuses, for the manifest; raises `DataError` with all of them unless ``force``."""
    sentences = tuple(finding.sentence for finding in found if finding.refuses)
    if sentences and not force:
        raise DataError(f"calibration refused: {'. Also: '.join(sentences)}. --force overrides that and notes it")
    return sentences


def _not_finite(statistics: InputStatistics) -> CalibrationFinding:
    return CalibrationFinding(
        "not-finite",
        f"{statistics.not_finite} of {statistics.samples} calibration samples hold NaN or infinite values after "
        "preprocessing",
        "remove them, or see whether --preprocess divides by zero or overflows",
    )


def _count(statistics: InputStatistics) -> CalibrationFinding | None:
    if statistics.samples >= _FEW:
        return None
    what = f"calibration has {statistics.samples} sample{'s' * (statistics.samples > 1)}"
    return CalibrationFinding("few", what, "ranges get better up to some hundreds", refuses=False)


def _identical(statistics: InputStatistics) -> CalibrationFinding | None:
    if statistics.identical:
        return CalibrationFinding(
            "identical", f"all {statistics.samples} calibration samples are the same", "give different ones"
        )
    if statistics.samples and statistics.low == statistics.high:
        what = f"every value of the calibration samples is {statistics.low:.4g}"
        return CalibrationFinding("identical", what, "give samples that differ")
    return None


def _one_class(calibration: CheckedData, evaluation: CheckedData | None, classes: int) -> CalibrationFinding | None:
    y = calibration.y
    told = classes >= 2 or (evaluation is not None and evaluation.y is not None and len(np.unique(evaluation.y)) > 1)
    if y is None or len(y) < 2 or not told or len(np.unique(y)) > 1:
        return None
    of = f", the model tells {classes} apart" if classes >= 2 else ", the evaluation data has more"
    what = f"all {len(y)} calibration samples are of class {int(y[0])}{of}"
    return CalibrationFinding("one-class", what, "calibrate with samples of every class")


def _distribution(calibration: InputStatistics, evaluation: InputStatistics) -> CalibrationFinding | None:
    """Values lie elsewhere, or vary by another factor; one finding, for it has one cause."""
    if len(calibration.channels) != len(evaluation.channels):
        return None
    distances = [_distance(a, b) for a, b in zip(calibration.values, evaluation.values, strict=True)]
    factor = _spread_factor(calibration, evaluation)
    if max(distances) <= max(_APART, _noise(calibration.samples, evaluation.samples)) and factor is None:
        return None
    what = (
        f"after preprocessing, calibration values lie in {calibration.range} and evaluation values in "
        f"{evaluation.range}; {percent(max(distances))} of them lie apart"
    )
    if factor is not None:
        what += f", and they vary {_times(factor)} as much"
    return CalibrationFinding("distribution", what, _rescaling(calibration, evaluation, factor))


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the shares of values up to x, over all x."""
    places = np.concatenate([a, b])
    shares = [np.searchsorted(values, places, side="right") / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def _noise(samples: int, others: int) -> float:
    """What that distance reaches by chance: values of one sample may all depend on each other, so samples count."""
    return sqrt(-log(_CHANCE / 2) / 2) * sqrt((samples + others) / (samples * others))


def _spread_factor(calibration: InputStatistics, evaluation: InputStatistics) -> float | None:
    """How many times more calibration samples vary within themselves, where no evaluation sample does so, or few."""
    typical, other = float(np.median(calibration.spreads)), float(np.median(evaluation.spreads))
    if typical <= 0 or other <= 0 or 1 / _FACTOR <= typical / other <= _FACTOR:
        return None
    low, high = np.percentile(evaluation.spreads, [2.5, 97.5])
    return typical / other if not low <= typical <= high else None


def _times(factor: float) -> str:
    return f"{factor:.3g} times" if factor >= 1 else f"1/{1 / factor:.3g}"


def _rescaling(calibration: InputStatistics, evaluation: InputStatistics, factor: float | None) -> str:
    """Which step is too many or missing, if a usual factor explains the difference."""
    widths = [statistics.high - statistics.low for statistics in (calibration, evaluation)]
    ratios = [widths[0] / widths[1]] if min(widths) > 0 else []
    for ratio in [*ratios, *([factor] if factor is not None else [])]:
        for known, name in _KNOWN_FACTORS.items():
            if abs(max(ratio, 1 / ratio) / known - 1) < _NEARLY:
                smaller = "calibration" if ratio < 1 else "evaluation"
                return (
                    f"the {smaller} data look divided by {name}: give both files in the same scale and let "
                    "--preprocess bring them to the model's"
                )
    return "calibrate with data of the kind the model will be given, in the same scale; see --preprocess"
