"""Judges one model's answers by the figures of its task, whichever that is."""

from math import log, prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, Multilabel, Postprocess, Tensor
from maas_agent.processing.postprocess import activate
from maas_converter.base.statistics import Figure
from maas_converter.bench.measure import answered
from maas_converter.bench.postprocess import scores_of, threshold_of
from maas_converter.data.dataset import Dataset, classes_of, targets_of
from maas_converter.evidence import anomaly, classification, regression
from maas_converter.evidence.meant import found_second
from maas_converter.evidence.task import Task

Score = classification.ClassificationScore | regression.RegressionScore | anomaly.AnomalyScore
Comparison = classification.ClassificationComparison | regression.RegressionComparison | anomaly.AnomalyComparison

Values = NDArray[np.float32]


class Truth(msgspec.Struct, frozen=True):
    """What one output should have answered."""

    task: Task
    y: NDArray[np.generic]
    """Class numbers (N,) int64, or targets (N, …) float32."""
    labels: tuple[str, ...]
    """One a class; of an anomaly score what the data call its two kinds of samples, if they do."""
    inputs: Values
    """Real inputs (N, …), of an anomaly score only, see `maas_converter.evidence.anomaly.real_inputs`."""
    threshold: float | None = None
    """Of a classifier that answers one value: above which it means the second class."""
    activation: str = "none"
    """What makes the scores of the values, where several labels are judged by the error of these."""
    notes: tuple[str, ...] = ()
    """How the data were understood."""


def truth_of(
    task: Task,
    dataset: Dataset,
    output: Tensor,
    labels: tuple[str, ...],
    spec: Input,
    samples: NDArray[np.generic],
    *,
    binary: bool = False,
) -> Truth:
    """What ``dataset`` says of its ``samples`` (N, …sample); raises `DataError` if that does not fit the model.

    ``binary``: the output's one value tells two classes apart.
    """
    none, known = np.zeros((len(samples), 0), np.float32), len(dataset.notes)
    if task == "regression":
        return Truth(task, targets_of(dataset), (), none)
    if task == "anomaly":
        dataset = found_second(dataset)
    count = 2 if task == "anomaly" or binary else prod(output.shape)
    numbers = classes_of(dataset, count)
    y = numbers if numbers is not None else np.zeros(0, np.int64)
    if task == "anomaly":
        return Truth(task, y, dataset.classes, anomaly.real_inputs(spec, samples), notes=dataset.notes[known:])
    return Truth(task, y, _labels(labels, dataset, count), none)


def read_as(truth: Truth, kind: Postprocess) -> Truth:
    """Let ``truth`` know what makes scores of the model's values: the threshold between two classes, the activation."""
    threshold = threshold_of(kind) if truth.task == "classification" else None
    activation = kind.activation if isinstance(kind, Multilabel) else "none"
    return msgspec.structs.replace(truth, threshold=threshold, activation=activation)


def score_of(truth: Truth, values: Values) -> Score | None:
    """Judge the answers (N, …) of a model; samples it did not answer are left out. ``None`` if it answered none."""
    kept = answered(values)
    if not kept.any() or not _scorable(truth, kept):
        return None
    values, y = values[kept], truth.y[kept]
    if truth.task == "classification":
        return classification.score(scores_of(values, truth.threshold), y.astype(np.int64), truth.labels)
    if truth.task == "regression":
        return regression.score(activate(values, truth.activation), y)
    return anomaly.score(values, truth.inputs[kept], y.astype(np.int64), "".join(truth.labels[1:2]))


def compare(truth: Truth, float32: Values, bundle: Values) -> Comparison | None:
    """Compare two models' answers (N, …), on the samples that both answered."""
    kept = answered(float32) & answered(bundle)
    if not kept.any() or not _scorable(truth, kept):
        return None
    y, before, after = truth.y[kept], float32[kept], bundle[kept]
    if truth.task == "classification":
        before, after = scores_of(before, truth.threshold), scores_of(after, truth.threshold)
        return classification.compare(before, after, y.astype(np.int64))
    if truth.task == "regression":
        before, after = activate(before, truth.activation), activate(after, truth.activation)
        return regression.compare(before, after, y)
    return anomaly.compare(before, after, truth.inputs[kept], y.astype(np.int64))


def doubts_of(truth: Truth, values: Values, score: Score | None) -> tuple[str, ...]:
    """What speaks against ``y`` meaning what it was taken for, as sentences; ``values`` (N, …) were judged."""
    if isinstance(score, anomaly.AnomalyScore) and score.auc.value < 0.5 and _is_sure(score.auc):
        return (
            f"the score points the wrong way (ROC AUC {score.auc.value:.4f}): it is higher for normal samples, which "
            "are class 0, than for those to be found, class 1; if 'y' has them the other way round, turn it round",
        )
    if isinstance(score, classification.ClassificationScore):
        kept = answered(values)
        rows = scores_of(values[kept], truth.threshold)
        return classification.doubts(rows, truth.y[kept].astype(np.int64), score)
    return ()


def right_labels(values: NDArray[np.float32], y: NDArray[np.generic], told: Multilabel) -> tuple[float, float]:
    """The share of all labels that are rightly named or left out, and micro F1: ``y`` (N, labels) are 0 and 1."""
    wanted = y.reshape(len(y), -1) == 1
    named = values.reshape(len(values), -1) >= _stored_threshold(told)
    hits = int(np.sum(named & wanted))
    return float(np.mean(named == wanted)), 2 * hits / max(1, int(named.sum() + wanted.sum()))


def multilabel_notes(
    values: NDArray[np.float32], y: NDArray[np.generic] | None, told: Postprocess | None
) -> tuple[str, ...]:
    """Say how many labels are right, where the output is multilabel and ``y`` says which labels there are."""
    if y is None or not isinstance(told, Multilabel) or y.size != values.size or not np.isin(y, (0, 1)).all():
        return ()
    share, f1 = right_labels(values, y, told)
    return (f"{share:.2%} of the labels are right at the threshold {told.threshold:g}; micro F1 {f1:.4f}",)


def _is_sure(auc: Figure) -> bool:
    return auc.interval is not None and auc.interval[1] < 0.5


def _scorable(truth: Truth, kept: NDArray[np.bool_]) -> bool:
    """A ranking needs samples of both kinds."""
    return truth.task != "anomaly" or len(np.unique(truth.y[kept])) == 2


def _labels(labels: tuple[str, ...], dataset: Dataset, count: int) -> tuple[str, ...]:
    """The model's own labels, else the data set's if they fit, else numbers."""
    for names in (labels, dataset.classes):
        if len(names) == count:
            return names
    return tuple(str(number) for number in range(count))


def _stored_threshold(told: Multilabel) -> float:
    """The threshold for values as the model answers them, before any sigmoid."""
    if told.activation == "none":
        return told.threshold
    share = min(max(told.threshold, 1e-12), 1 - 1e-12)
    return log(share / (1 - share))
