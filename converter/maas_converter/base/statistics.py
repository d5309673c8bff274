"""The statistics behind the figures: pure functions of counts and arrays, each with its source.

Intervals are two-sided and hold 95 %. Where no closed form is sound they are percentile bootstrap intervals (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13), seeded: the same data give the same interval.
"""

from math import exp, lgamma, log, sqrt

import msgspec
import numpy as np
from numpy.typing import NDArray

SIGNIFICANT = 0.05
"""Below this p a difference is called significant."""

Interval = tuple[float, float]

_Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

_DRAWS = 2000
_SEED = 1

Macro = tuple[float, float, float]
"""Precision, recall and F1, each the plain mean over classes."""


class Figure(msgspec.Struct, frozen=True):
    """A value and its 95 % confidence interval, in the same unit; no interval where the data cannot give one."""

    value: float
    interval: Interval | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference of this size is more than chance: zero lies outside of the interval."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def wilson_interval(successes: int, trials: int) -> Interval:
    """95 % confidence interval of a proportion, as fractions.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927): unlike the textbook
    interval it stays inside 0…1 and says something even when all trials succeed.
    """
    share, z2 = successes / trials, _Z * _Z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_drop_points(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, Interval]:
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


def mcnemar_p(lost: int, won: int) -> float:
    """Two-sided p of "both models are right equally often", from the samples that only one of them got right.

    The exact (binomial) form of McNemar's test: McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", Psychometrika 12 (1947). Each such sample is a toss of a fair coin.
    """
    tosses, fewer = lost + won, min(lost, won)
    tail = sum(
        exp(lgamma(tosses + 1) - lgamma(heads + 1) - lgamma(tosses - heads + 1) - tosses * log(2))
        for heads in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def bootstrap_means(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means (draws, C) of samples drawn anew from ``columns`` (N, C): rows stay together, so columns stay paired."""
    generator = np.random.default_rng(_SEED)
    count = len(columns)
    return np.stack([columns[generator.integers(0, count, count)].mean(axis=0) for _ in range(_DRAWS)])


def percentile_interval(draws: NDArray[np.float64]) -> Interval:
    """The middle 95 % of ``draws`` (draws,); what is not finite (a draw without any spread) is left out."""
    kept = draws[np.isfinite(draws)]
    low, high = np.percentile(kept if len(kept) else np.zeros(1), [2.5, 97.5])
    return float(low), float(high)


def macro_scores(confusion: NDArray[np.int64]) -> Macro:
    """Macro precision, recall and F1 of ``confusion`` (C, C), whose rows are true classes and columns answered ones.

    As Sokolova and Lapalme, "A systematic analysis of performance measures for classification tasks", Information
    Processing & Management 45 (2009), but F1 is the mean of the classes' F1. A class that neither occurs nor is ever
    answered is left out; what would divide by zero counts as 0.
    """
    found = _macro(np.diagonal(confusion)[None], confusion.sum(axis=1)[None], confusion.sum(axis=0)[None])[0]
    return float(found[0]), float(found[1]), float(found[2])


def macro_intervals(confusion: NDArray[np.int64]) -> tuple[Interval, Interval, Interval]:
    """Bootstrap intervals of `macro_scores`: drawing samples anew is drawing the cells of ``confusion`` anew.

    The draws are moved so that their mean is the measured figure: where a class has few samples, drawing alone lowers
    F1, as far as to leave the measured one outside of the interval (1,000 classes of 10 samples).
    """
    generator = np.random.default_rng(_SEED)
    true, answered = np.nonzero(confusion)
    held = confusion[true, answered]
    shares, parts = held / held.sum(), 20  # parts, for 1,000 classes have many cells
    drawn = (generator.multinomial(int(held.sum()), shares, size=_DRAWS // parts) for _ in range(parts))
    draws = np.concatenate([_macro_of_cells(part, true, answered, len(confusion)) for part in drawn])
    moved = np.clip(draws - draws.mean(axis=0) + np.array(macro_scores(confusion)), 0, 1)
    first, second, third = (percentile_interval(moved[:, column]) for column in range(3))
    return first, second, third


def roc_auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a positive sample scores above a negative one; a tie counts half.

    ``scores`` and ``positive`` (N,), with at least one sample of either kind. It is the Mann-Whitney statistic: Bamber,
    Journal of Mathematical Psychology 12 (1975).
    """
    above, _ = _placements(scores, positive)
    return float(above.mean())


def auc_interval(auc: float, positives: int, negatives: int) -> Interval:
    """Interval of a ROC AUC measured on so many samples of either kind.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", Statistics
    in Medicine 25 (2006), method 5: the variance of Hanley and McNeil, Radiology 143 (1982), taken at the interval's
    own ends, so that a perfect ranking of ten samples is not "perfect for certain".
    """

    def reach(at: float) -> float:
        both = (positives + negatives) / 2 - 1
        spread = 1 + both * ((1 - at) / (2 - at) + at / (1 + at))
        return _Z * sqrt(at * (1 - at) * spread / (positives * negatives))

    def end(inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if abs(auc - middle) <= reach(middle) else (inside, middle)
        return outside

    return end(auc, 0.0), end(auc, 1.0)


def auc_drop(
    before: NDArray[np.float64], after: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[float, Interval | None]:
    """ROC AUC lost between two models on the same samples (scores (N,)), and its interval.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44 (1988). No interval with fewer than two samples of either kind, and none
    where both models rank every pair alike: its width would be zero, which no finite data can show.
    """
    placed = [_placements(scores, positive) for scores in (before, after)]
    above, below = (placed[0][part] - placed[1][part] for part in (0, 1))
    drop = float(above.mean())
    if min(len(above), len(below)) < 2:
        return drop, None
    variance = float(np.var(above, ddof=1) / len(above) + np.var(below, ddof=1) / len(below))
    half = _Z * sqrt(variance)
    return drop, (max(-1.0, drop - half), min(1.0, drop + half)) if half > 0 else None


def _placements(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each positive sample the share of negatives below it, for each negative the share of positives above it.

    By ranks: Sun and Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21 (2014).
    """
    hits, misses = scores[positive], scores[~positive]
    ranks = _midranks(np.concatenate([hits, misses]))
    above = (ranks[: len(hits)] - _midranks(hits)) / len(misses)
    below = 1 - (ranks[len(hits) :] - _midranks(misses)) / len(hits)
    return above, below


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _macro(right: NDArray[np.int64], present: NDArray[np.int64], answered: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts (draws, C) of right answers, of true and of answered samples by class, to (draws, 3)."""
    counted = np.maximum(((present > 0) | (answered > 0)).sum(axis=1), 1)
    precision = right / np.maximum(answered, 1)
    recall = right / np.maximum(present, 1)
    f1 = 2 * right / np.maximum(present + answered, 1)
    return np.stack([values.sum(axis=1) / counted for values in (precision, recall, f1)], axis=1)


def _macro_of_cells(
    drawn: NDArray[np.int64], true: NDArray[np.intp], answered: NDArray[np.intp], classes: int
) -> NDArray[np.float64]:
    """Counts (draws, cells) of the cells (``true``, ``answered``), to (draws, 3)."""
    right = np.zeros((len(drawn), classes), np.int64)
    diagonal = true == answered
    right[:, true[diagonal]] = drawn[:, diagonal]
    return _macro(right, _by_class(drawn, true, classes), _by_class(drawn, answered, classes))


def _by_class(drawn: NDArray[np.int64], of: NDArray[np.intp], classes: int) -> NDArray[np.int64]:
    """Counts (draws, cells), of which each cell is ``of`` a class, to sums (draws, classes)."""
    order = np.argsort(of, kind="stable")
    present, starts = np.unique(of[order], return_index=True)
    sums = np.zeros((len(drawn), classes), np.int64)
    sums[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return sums
