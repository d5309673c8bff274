"""How well a classifier tells classes apart, and what quantizing it changed."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.base.statistics import (
    SIGNIFICANT,
    Figure,
    Interval,
    macro_intervals,
    macro_scores,
    mcnemar_p,
    paired_drop_points,
    wilson_interval,
)
from maas_converter.data.labels import some

LARGEST_MATRIX = 100
"""Classes up to which the whole confusion matrix is part of the evidence."""

_RENUMBERED = 0.4
"""Share of samples that another numbering of the classes has to set right before it is told."""

_TOPS = (3, 5)
_PAIRS = 30


class ClassFigures(msgspec.Struct, frozen=True):
    """One class: its samples, how many were recognised, how many answers named it, and shares (0…1) of these."""

    label: str
    samples: int
    correct: int
    answered: int
    precision: float
    recall: float
    f1: float


class Confused(msgspec.Struct, frozen=True):
    """Two classes, and how many samples of the first were taken for the second."""

    true: str
    answered: str
    count: int


class ClassificationScore(msgspec.Struct, frozen=True, tag_field="task", tag="classification"):
    """One model on one data set; all shares are fractions. Macro figures are means over classes."""

    samples: int
    correct: int
    accuracy: float
    interval: Interval
    """Of ``accuracy``, 95 % (Wilson)."""
    top: dict[str, Figure]
    """By k: how often the true class is among the k best; only k below the number of classes."""
    precision: Figure
    recall: Figure
    f1: Figure
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts, a row for each true class, a column for each answered one; empty beyond 100 classes."""
    confused: tuple[Confused, ...]
    """The most confused pairs, most often first."""


class ClassificationComparison(msgspec.Struct, frozen=True, tag_field="task", tag="classification"):
    """How float model and bundle classified one set of samples, sample by sample."""

    agreement: Figure
    """How often (a fraction) both name the same class."""
    drop_points: Figure
    """Accuracy lost, in percentage points."""
    lost: int
    """Samples that only the float model got right."""
    won: int
    """Samples that only the bundle got right."""
    p: float
    """Of McNemar's exact test: the chance of a difference like this between equally good models."""
    significant: bool
    """Whether ``p`` is below 5 %."""


def score(values: NDArray[np.float32], y: NDArray[np.int64], labels: tuple[str, ...]) -> ClassificationScore:
    """Judge the real output values (N, …) of a model by the true classes ``y`` (N,); one label a class."""
    ranked = _ranked(values)
    found = ranked[:, 0]
    confusion = _confusion(found, y, len(labels))
    correct = int(np.sum(found == y))
    macro = [Figure(*both) for both in zip(macro_scores(confusion), macro_intervals(confusion), strict=True)]
    return ClassificationScore(
        samples=len(y),
        correct=correct,
        accuracy=correct / len(y),
        interval=wilson_interval(correct, len(y)),
        top={str(k): _top(ranked, y, k) for k in _TOPS if k < len(labels)},
        precision=macro[0],
        recall=macro[1],
        f1=macro[2],
        classes=tuple(_class(confusion, number, label) for number, label in enumerate(labels)),
        confusion=tuple(map(tuple, confusion.tolist())) if len(labels) <= LARGEST_MATRIX else (),
        confused=_confused(confusion, labels),
    )


def doubts(values: NDArray[np.float32], y: NDArray[np.int64], score: ClassificationScore) -> tuple[str, ...]:
    """Whether the classes are numbered otherwise than the model's, and which have no sample, as sentences."""
    labels = tuple(figures.label for figures in score.classes)
    absent = [figures.label for figures in score.classes if not figures.samples]
    told = (f"no sample is of {some(absent)}",) if absent and len(labels) <= LARGEST_MATRIX else ()
    confusion = _confusion(_ranked(values)[:, 0], y, len(labels))
    present = np.flatnonzero(confusion.sum(axis=1))
    best = confusion.argmax(axis=1)[present]
    agreed = int(confusion[present, best].sum())
    if len(set(best)) < len(best) or len(present) < 2 or agreed - score.correct < _RENUMBERED * len(y):
        return told
    moved = [f"{labels[a]!r} is answered {labels[b]!r}" for a, b in zip(present, best, strict=True) if a != b]
    renumbered = (
        f"the classes look numbered otherwise than the model's: {agreed / len(y):.0%} would be right if "
        f"{some(moved)}; see the order of the labels and of 'y', which begins at 0"
    )
    return (*told, renumbered)


def compare(
    float32: NDArray[np.float32], bundle: NDArray[np.float32], y: NDArray[np.int64]
) -> ClassificationComparison:
    """Compare two models' real output values (N, …) on the same samples."""
    before, after = _ranked(float32)[:, 0], _ranked(bundle)[:, 0]
    lost, won = int(np.sum((before == y) & (after != y))), int(np.sum((after == y) & (before != y)))
    same, p = int(np.sum(before == after)), mcnemar_p(lost, won)
    return ClassificationComparison(
        agreement=Figure(same / len(y), wilson_interval(same, len(y))),
        drop_points=Figure(*paired_drop_points(before == y, after == y)),
        lost=lost,
        won=won,
        p=p,
        significant=p < SIGNIFICANT,
    )


def _ranked(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best classes (N, up to 5) of each sample, best first; among equals the lower one, as on a device."""
    rows = values.reshape(len(values), -1)
    return np.argsort(-rows, axis=1, kind="stable")[:, : max(_TOPS)].astype(np.int64)


def _top(ranked: NDArray[np.int64], y: NDArray[np.int64], k: int) -> Figure:
    among = int(np.sum(np.any(ranked[:, :k] == y[:, None], axis=1)))
    return Figure(among / len(y), wilson_interval(among, len(y)))


def _confusion(found: NDArray[np.int64], y: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(y * classes + found, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def _class(confusion: NDArray[np.int64], number: int, label: str) -> ClassFigures:
    samples, answered = int(confusion[number].sum()), int(confusion[:, number].sum())
    correct = int(confusion[number, number])
    return ClassFigures(
        label=label,
        samples=samples,
        correct=correct,
        answered=answered,
        precision=correct / max(answered, 1),
        recall=correct / max(samples, 1),
        f1=2 * correct / max(samples + answered, 1),
    )


def _confused(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> tuple[Confused, ...]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [(int(at) // len(labels), int(at) % len(labels)) for at in worst]
    return tuple(Confused(labels[a], labels[b], int(wrong[a, b])) for a, b in pairs if wrong[a, b])
