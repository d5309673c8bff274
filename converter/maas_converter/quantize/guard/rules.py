"""The calibration guard: is this data what the model will be given? Rules over arrays, each with its threshold.

Ranges measured on wrong data make a model that is wrong without a word: pixels divided by 255 once too often take
ResNet-8 from 75 % to 10 %. Each rule looks for a gross mistake, a wrong scale or half a data set, and for nothing
finer: calibration data may well be other data than what a model is evaluated on.
"""

from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.quantize.guard.finding import Finding, Scaling, Side, percent
from maas_converter.quantize.guard.input_statistics import Look
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
    calibration: Side, evaluation: Side | None, classes: int, scaling: Scaling | None = None
) -> tuple[Finding, ...]:
    """What speaks against calibrating with ``calibration``; empty if nothing does.

    ``classes`` is how many the model tells apart, 0 if its task is another one; ``scaling`` what the model itself
    begins with, if it is known (`maas_converter.quantize.guard.scaling`).
    """
    if calibration.look.samples == 0:
        return (Finding("empty", "calibration holds no samples", "give --calibration data with samples"),)
    if calibration.look.not_finite:
        return (_not_finite(calibration.look),)
    found = [_count(calibration.look), _identical(calibration.look), _one_class(calibration, evaluation, classes)]
    if evaluation is not None and evaluation.look.channels:
        found.append(_distribution(calibration.look, evaluation.look))
    if not any(finding is not None and finding.refuses for finding in found):
        # What the model makes of the data says less than the data: it is asked where they say nothing.
        found += [own_scaling(calibration.look, scaling), recognition(calibration, evaluation, classes)]
    if not any(finding is not None and finding.refuses for finding in found):
        found.append(collapse(calibration, evaluation, classes))
    return tuple(finding for finding in found if finding is not None)


def enforce(found: tuple[Finding, ...], force: bool) -> tuple[str, ...]:
    """The sentences of what refuses, for the manifest; raises `DataError` with all of them unless ``force``."""
    sentences = tuple(finding.sentence for finding in found if finding.refuses)
    if sentences and not force:
        raise DataError(f"calibration refused: {'. Also: '.join(sentences)}. --force overrides that and notes it")
    return sentences


def _not_finite(look: Look) -> Finding:
    return Finding(
        "not-finite",
        f"{look.not_finite} of {look.samples} calibration samples hold NaN or infinite values after preprocessing",
        "remove them, or see whether --preprocess divides by zero or overflows",
    )


def _count(look: Look) -> Finding | None:
    if look.samples >= _FEW:
        return None
    what = f"calibration has {look.samples} sample{'s' * (look.samples > 1)}"
    return Finding("few", what, "ranges get better up to some hundreds", refuses=False)


def _identical(look: Look) -> Finding | None:
    if look.identical:
        return Finding("identical", f"all {look.samples} calibration samples are the same", "give different ones")
    if look.samples and look.low == look.high:
        what = f"every value of the calibration samples is {look.low:.4g}"
        return Finding("identical", what, "give samples that differ")
    return None


def _one_class(calibration: Side, evaluation: Side | None, classes: int) -> Finding | None:
    y = calibration.y
    told = classes >= 2 or (evaluation is not None and evaluation.y is not None and len(np.unique(evaluation.y)) > 1)
    if y is None or len(y) < 2 or not told or len(np.unique(y)) > 1:
        return None
    of = f", the model tells {classes} apart" if classes >= 2 else ", the evaluation data has more"
    what = f"all {len(y)} calibration samples are of class {int(y[0])}{of}"
    return Finding("one-class", what, "calibrate with samples of every class")


def _distribution(calibration: Look, evaluation: Look) -> Finding | None:
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
    return Finding("distribution", what, _rescaling(calibration, evaluation, factor))


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the shares of values up to x, over all x."""
    places = np.concatenate([a, b])
    shares = [np.searchsorted(values, places, side="right") / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def _noise(samples: int, others: int) -> float:
    """What that distance reaches by chance: values of one sample may all depend on each other, so samples count."""
    return sqrt(-log(_CHANCE / 2) / 2) * sqrt((samples + others) / (samples * others))


def _spread_factor(calibration: Look, evaluation: Look) -> float | None:
    """How many times more calibration samples vary within themselves, where no evaluation sample does so, or few."""
    typical, other = float(np.median(calibration.spreads)), float(np.median(evaluation.spreads))
    if typical <= 0 or other <= 0 or 1 / _FACTOR <= typical / other <= _FACTOR:
        return None
    low, high = np.percentile(evaluation.spreads, [2.5, 97.5])
    return typical / other if not low <= typical <= high else None


def _times(factor: float) -> str:
    return f"{factor:.3g} times" if factor >= 1 else f"1/{1 / factor:.3g}"


def _rescaling(calibration: Look, evaluation: Look, factor: float | None) -> str:
    """Which step is too many or missing, if a usual factor explains the difference."""
    widths = [look.high - look.low for look in (calibration, evaluation)]
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
