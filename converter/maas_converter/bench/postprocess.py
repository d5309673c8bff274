"""What a model's output is: told from the op that makes it, from ``--activation`` and the labels, then from its values.

Values alone say little: 1001 scores of 8 bits do not sum to 1 though a softmax made them, and two sigmoids may.
"""

from math import prod
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Classification, Multilabel, Output, Postprocess, Raw, Tensor
from maas_agent.errors import DataError, UsageError
from maas_converter.tflite.heads import OutputHead

Values = NDArray[np.float32]

Activation = Literal["auto", "none", "softmax", "sigmoid"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

_SUM_TOLERANCE = 0.02
"""Float softmax sums to 1 within 1e-5; an int8 one is off by up to half a step for each class."""

Told = tuple[Postprocess, str]


class KnownOutput(msgspec.Struct, frozen=True):
    """What is known of one output before it is run."""

    tensor: Tensor
    head: OutputHead = OutputHead("unknown")
    labels: tuple[str, ...] = ()
    asked: Activation = "auto"
    """What ``--activation`` says."""

    @property
    def binary(self) -> bool:
        """Whether its one value tells two classes apart: that there are two names, or a sigmoid was asked for."""
        return prod(self.tensor.shape) == 1 and (len(self.labels) == 2 or self.asked == "sigmoid")

    @property
    def classes(self) -> int:
        """How many classes it may tell apart."""
        return 2 if self.binary else prod(self.tensor.shape)


def check_activation(asked: str | None) -> Activation:
    """What ``--activation`` names; raises `UsageError` that lists the choices."""
    for activation in ACTIVATIONS:
        if asked == activation:
            return activation
    if asked is None:
        return "auto"
    raise UsageError(f"--activation {asked}: choose one of {', '.join(ACTIVATIONS)}")


def output_of(known: KnownOutput, told: Postprocess) -> Output:
    """Describe one output that is ``told`` apart; raises `DataError` if two labels of several at once are alike."""
    labels = () if isinstance(told, Raw) and len(known.labels) != prod(known.tensor.shape) else known.labels
    if isinstance(told, Multilabel) and len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataError(f"the label {twice!r} stands there twice, and each has a score of its own: name them apart")
    return Output(tensor=known.tensor, postprocess=told, labels=labels)


def check_labels(known: KnownOutput) -> None:
    """Raise `DataError` if there are labels and they are not one a class; two for one value are."""
    count, labels = known.classes, known.labels
    if labels and len(labels) != count:
        raise DataError(
            f"there are {len(labels)} labels, the model's output {known.tensor.name!r} has "
            f"{count} class{'es' * (count != 1)}" + ("; one value tells two apart" if count == 1 else "")
        )


def tell(known: KnownOutput, values: Values, *, has_classes: bool, several: bool = False) -> Told:
    """What the output is, and the sentence that says why: ``values`` (N, …) are real values on data.

    ``has_classes``: the data state a class for each sample; ``several``: they state which labels it has. Raises
    `DataError` where it cannot be told.
    """
    rows = values.reshape(len(values), -1)
    if known.binary:
        return _binary(known, rows)
    if rows.shape[1] < 2:
        return Raw(), "one value a sample: reported as it is"
    if known.asked != "auto":
        return _asked(known)
    if several and known.head.kind not in ("softmax", "log_softmax"):
        return _several(known.head, rows)
    return _told(known.head, rows, bool(known.labels) or has_classes)


def threshold_of(told: Postprocess | None) -> float | None:
    """Above which value of one the second of two classes is meant; ``None`` if it is no such output."""
    if not isinstance(told, Classification) or not told.binary:
        return None
    return 0.0 if told.activation == "sigmoid" else 0.5


def scores_of(values: Values, threshold: float | None) -> Values:
    """Values (N, classes) whose largest is the class meant: ``values`` (N, …), or of one value two columns."""
    rows = values.reshape(len(values), -1)
    if threshold is None:
        return rows
    return np.concatenate([threshold - rows, rows - np.float32(threshold)], axis=1).astype(np.float32)


def _binary(known: KnownOutput, rows: Values) -> Told:
    head, second = known.head, known.labels[1] if known.labels else "1"
    means = f"one value, the score of {second!r}"
    if head.kind == "sigmoid":
        return Classification(top=2, binary=True), f"{means}: a sigmoid makes it"
    if known.asked == "sigmoid":
        return Classification(top=2, activation="sigmoid", binary=True), f"{means}, by the sigmoid that was asked for"
    if known.asked == "none":
        return Classification(top=2, binary=True), f"{means}, as it is"
    if known.asked == "softmax":
        raise UsageError("--activation softmax: of one value it is always 1; choose sigmoid or none")
    inside = _inside(rows)
    if head.kind == "linear" and inside:
        raise DataError(
            f"the output {known.tensor.name!r} is one value, in 0…1 on these data, and no sigmoid makes it "
            f"({head.op}): give --activation sigmoid if it is a logit, --activation none if it is a score"
        )
    if inside:
        return Classification(top=2, binary=True), f"{means}: every answer lies in 0…1"
    return Classification(top=2, activation="sigmoid", binary=True), f"{means} as a logit: it leaves 0…1"


def _asked(known: KnownOutput) -> Told:
    kind = known.head.kind
    if known.asked == "softmax":
        if kind == "softmax":
            return Classification(), "probabilities: the model has the softmax that was asked for"
        return Classification(activation="softmax"), "softmax makes probabilities of them, as asked for"
    if known.asked == "sigmoid":
        if kind == "sigmoid":
            return Multilabel(), "a score for each label: the model has the sigmoid that was asked for"
        return Multilabel(activation="sigmoid"), "sigmoid makes a score for each label, as asked for"
    return Classification(), "scores as they are, as asked for: the best one is the class"


def _several(head: OutputHead, rows: Values) -> Told:
    why = "a score for each label: 'y' names several labels a sample"
    if head.kind == "sigmoid" or (head.kind != "linear" and _inside(rows)):
        return Multilabel(), why
    return Multilabel(activation="sigmoid"), f"{why}, and sigmoid makes scores of the values"


def _told(head: OutputHead, rows: Values, known: bool) -> Told:
    if head.kind == "softmax":
        return Classification(), f"probabilities: a softmax makes them ({head.op})"
    if head.kind == "sigmoid" and known:
        return Multilabel(), f"a score for each label, whatever the others': a sigmoid makes them ({head.op})"
    if head.kind == "softmaxes" and known:
        return Multilabel(), f"several softmaxes side by side ({head.op}): a score for each label"
    if head.kind == "log_softmax" and known:
        return Classification(activation="softmax"), f"logarithms of probabilities ({head.op}): softmax takes them back"
    if not known:
        return _of_no_classes(head, rows)
    if _are_probabilities(rows):
        return Classification(), "probabilities: every answer lies in 0…1 and sums to 1"
    if head.kind != "linear" and _inside(rows):
        why = "in 0…1, though they do not sum to 1: scores as they are; --activation softmax or sigmoid says otherwise"
        return Classification(), why
    why = "not in 0…1 or not summing to 1: softmax makes probabilities of them"
    return Classification(activation="softmax"), why


def _of_no_classes(head: OutputHead, rows: Values) -> Told:
    if head.kind == "unknown" and _are_probabilities(rows):
        return Classification(), "probabilities: every answer lies in 0…1 and sums to 1"
    return Raw(), "no probabilities, and neither labels nor classes are known: reported as they are"


def _inside(rows: Values) -> bool:
    return bool((rows >= -1e-6).all() and (rows <= 1 + 1e-6).all())


def _are_probabilities(rows: Values) -> bool:
    return _inside(rows) and bool(np.allclose(rows.sum(axis=1), 1.0, atol=_SUM_TOLERANCE))
