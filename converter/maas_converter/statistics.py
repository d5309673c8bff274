"""The statistics behind the figures: pure functions of counts, each with its source."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion, as fractions.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927): unlike the textbook
    interval it stays inside 0…1 and says something even when all trials succeed.
    """
    share, z2 = successes / trials, _Z * _Z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_drop_points(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Accuracy lost between two models on the same samples, and its 95 % confidence interval, in percentage points.

    ``before`` and ``after`` (N,) say which samples each model got right. Only samples on which they differ count.
    The interval is Agresti and Min's, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005): the normal one, after half an observation is added to each cell of the 2 x 2
    table. Without that, two models that never differ on 50 samples would be "equal for certain".
    """
    count = len(before)
    lost, won = int(np.sum(before & ~after)), int(np.sum(after & ~before))
    total = count + 2
    centre = (lost - won) / total
    half = _Z * sqrt((lost + won + 1) - (lost - won) ** 2 / total) / total
    interval = (max(-1.0, centre - half) * 100, min(1.0, centre + half) * 100)
    return (lost - won) / count * 100, interval
