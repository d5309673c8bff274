"""What quantizing lost, in points, and the most that it may lose: the first line of ``convert``, and ``--max-drop``.

A point is one percent, of what depends on the task:

============== ============================================================================================
classification of the samples, recognised by the float model and no longer
anomaly        of the area under the ROC curve
regression     of the standard deviation of the targets, by which the mean absolute error grew; the worst column
nothing known  of the samples, put into another class than by the float model; of a model that is no classifier of
               its outputs' standard deviation (root mean square)
============== ============================================================================================
"""

import msgspec
import numpy as np

from maas_agent.bundle.manifest import Postprocess
from maas_agent.errors import DataError
from maas_agent.processing.postprocess import activate
from maas_converter.bench.measure import Answers, answered
from maas_converter.convert.validation import Validation
from maas_converter.evidence.anomaly import AnomalyComparison
from maas_converter.evidence.classification import ClassificationComparison
from maas_converter.evidence.scoring import Truth
from maas_converter.quantize.search.measuring.loss import criterion_of

POINTS = 1.0
"""What may be lost before it is said in the first line, where nobody says."""

_ROUNDING = 1e-9
"""A point is a share of samples, times 100: not exact in binary."""


class PointsLost(msgspec.Struct, frozen=True):
    """Points lost, below 0 won; ``of`` says of what."""

    points: float
    of: str
    judged: bool
    """Whether by what is true, not only by what the float model answers."""


def loss_of(validation: Validation, told: Postprocess | None = None) -> PointsLost | None:
    """What the bundle loses against the models as they came; ``None`` without these or without data.

    ``told`` is what the one output is.
    """
    before, after = validation.float32, validation.bundle
    if before is None or not validation.given:
        return None
    first, second = _both(before.answers, after.answers)
    if not len(next(iter(first.values()))):
        return None
    comparison = validation.judged.comparison if validation.judged is not None else None
    match comparison:
        case ClassificationComparison():
            return PointsLost(comparison.drop_points.value, "accuracy", judged=True)
        case AnomalyComparison():
            return PointsLost(100 * comparison.auc_drop.value, "ROC AUC", judged=True)
    truth = validation.evidence.truth
    if truth is not None and comparison is not None:
        return PointsLost(_growth(truth, before.answers, after.answers), "mean absolute error", judged=True)
    criterion = criterion_of(first, None, told)
    of = "answers that name the float model's class" if criterion.kind == "agreement" else "its outputs' spread"
    rows = np.arange(len(next(iter(first.values()))))
    return PointsLost(criterion.loss(first, second, rows).points, of, judged=False)


def enforce(asked: float | None, recipe: str, loss: PointsLost | None) -> None:
    """Raise `DataError` if more than ``asked`` points are lost, or nothing shows how many."""
    if asked is None:
        return
    if loss is None:
        raise DataError(
            f"--max-drop {asked:g}: there is no float model to compare with: start from that, or leave --max-drop out"
        )
    if loss.points > asked + _ROUNDING:
        raise DataError(
            f"--max-drop {asked:g}: {recipe} loses {loss.points:.2f} points ({loss.of}), so nothing was written. Try "
            f"--quantize {'auto' if recipe == 'int16x8' else 'int16x8'}, or more and better --calibration data"
        )


def warning_of(asked: float | None, recipe: str, quantized: bool, evaluated: bool, loss: PointsLost | None) -> str:
    """What has to be the first line; empty if nothing has.

    ``quantized``: the bundle computes with integers and came as floats; ``evaluated``: there is evaluation data.
    """
    if not quantized:
        return ""
    if not evaluated:
        return f"nothing shows what {recipe} costs: give --evaluation DATA"
    if loss is None:
        return ""
    bound = asked if asked is not None else POINTS
    known = "" if loss.judged else f"what {recipe} costs was not judged by classes or targets 'y', and "
    if loss.points > bound + _ROUNDING:
        return f"{known}{recipe} loses {loss.points:.2f} points ({loss.of}), more than {bound:g}"
    return f"{known}it loses {max(loss.points, 0.0):.2f} points ({loss.of})" if known else ""


def _both(before: Answers, after: Answers) -> tuple[Answers, Answers]:
    """The answers to samples that both models answered, under the float model's names."""
    pairs = list(zip(before.items(), after.values(), strict=True))
    kept = np.logical_and.reduce([answered(values) & answered(other) for (_, values), other in pairs])
    first = {name: values[kept] for (name, values), _ in pairs}
    return first, {name: other[kept] for (name, _), other in pairs}


def _growth(truth: Truth, before: Answers, after: Answers) -> float:
    """By how much the mean absolute error of the worst column grew, in percent of its targets' standard deviation."""
    first, second = (activate(next(iter(answers.values())), truth.activation) for answers in (before, after))
    kept = answered(first) & answered(second)
    targets = truth.y[kept].reshape(int(kept.sum()), -1).astype(np.float64)
    errors = [np.abs(values[kept].reshape(targets.shape) - targets).mean(axis=0) for values in (first, second)]
    spread = targets.std(axis=0)
    size = np.where(spread > 0, spread, np.maximum(np.abs(targets).max(axis=0), 1e-12))
    return float(np.max((errors[1] - errors[0]) / size) * 100)
