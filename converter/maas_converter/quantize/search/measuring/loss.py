"""How much a quantized model lost against the float model.

Two measures. *Noise*, the squared error of the outputs over their variance, needs no labels, settles on a few hundred
samples and adds up over ops: the search goes by it. *Loss*, in points, is what a budget is stated in: the choice and
the final judgement go by that.
"""

from math import sqrt
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Classification, Postprocess
from maas_converter.base.statistics import paired_drop_points
from maas_converter.bench.postprocess import scores_of, threshold_of

Answers = dict[str, NDArray[np.float32]]
"""By output tensor of the float model: real values (N, …output)."""

_RESAMPLES = 1000


class Loss(msgspec.Struct, frozen=True):
    """Points lost, and their 95 % confidence interval; below 0 they are won."""

    points: float
    interval: tuple[float, float]


class LossCriterion(msgspec.Struct, frozen=True):
    """What a point is for this model and this data."""

    kind: Literal["accuracy", "agreement", "error"]
    y: NDArray[np.int64] | None
    threshold: float | None = None
    """Of a classifier that answers one value: above which it means the second class."""

    @property
    def sentence(self) -> str:
        """What a point is, for people."""
        return _SENTENCES[self.kind]

    def loss(self, before: Answers, after: Answers, rows: NDArray[np.int64]) -> Loss:
        """Compare the answers of the float model and of another one to the same samples, the evaluation's ``rows``."""
        if self.kind == "error":
            return _relative_error(before, after)
        first, second = (_classes(answers, self.threshold) for answers in (before, after))
        truth = self.y[rows] if self.y is not None else first
        points, interval = paired_drop_points(first == truth, second == truth)
        return Loss(points, interval)


def criterion_of(answers: Answers, y: NDArray[np.int64] | None, told: Postprocess | None = None) -> LossCriterion:
    """Choose by what a model is judged: ``y`` (N,) are true classes, if known, ``told`` is what its one output is."""
    threshold = threshold_of(told)
    if y is not None:
        return LossCriterion("accuracy", y, threshold)
    classifies = len(answers) == 1 and isinstance(told, Classification)
    return LossCriterion("agreement" if classifies else "error", None, threshold)


def noise(before: Answers, after: Answers) -> float:
    """Squared error over variance, the mean over the outputs; infinite if an answer is not finite."""
    shares = [_squared_error(values, after[name]) / _spread(values) for name, values in before.items()]
    found = float(np.mean(shares))
    return found if np.isfinite(found) else float("inf")


_SENTENCES = {
    "accuracy": "a point is one percent of the samples, recognised by the float model and no longer",
    "agreement": "no classes 'y' are known: a point is one percent of the samples that the quantized model puts into "
    "another class than the float model, right or wrong",
    "error": "the model is no classifier: a point is one percent of the outputs' standard deviation (root mean square)",
}


def _classes(answers: Answers, threshold: float | None) -> NDArray[np.int64]:
    values = scores_of(next(iter(answers.values())), threshold)
    found: NDArray[np.int64] = np.argmax(values, axis=1).astype(np.int64)
    return found


def _relative_error(before: Answers, after: Answers) -> Loss:
    """Root of the mean noise in points; the interval is the bootstrap's, over samples (Efron, 1979)."""
    shares = np.mean([_by_sample(values, after[name]) / _spread(values) for name, values in before.items()], axis=0)
    if not np.isfinite(shares).all():
        return Loss(float("inf"), (0.0, float("inf")))
    count = len(shares)
    random = np.random.default_rng(0)
    drawn = shares[random.integers(0, count, (_RESAMPLES, count))].sum(axis=1)
    low, high = np.sqrt(np.percentile(drawn, [2.5, 97.5])) * 100
    return Loss(100 * sqrt(float(shares.sum())), (float(low), float(high)))


def _spread(values: NDArray[np.float32]) -> float:
    rows = values.reshape(len(values), -1).astype(np.float64)
    spread = float(np.sum((rows - rows.mean(axis=0)) ** 2))
    # An output that never changes has no variance: its own size is the next best measure.
    return spread or float(np.sum(rows**2)) or 1.0


def _squared_error(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    return float(_by_sample(before, after).sum())


def _by_sample(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared error of each sample (N,)."""
    difference = after.reshape(len(after), -1).astype(np.float64) - before.reshape(len(before), -1)
    summed: NDArray[np.float64] = (difference**2).sum(axis=1)
    return summed
