"""What a model's output is: told from what the model answers on data."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Classification, Output, Postprocess, Raw, Tensor
from maas_agent.errors import DataError

_SUM_TOLERANCE = 0.02
"""Float softmax sums to 1 within 1e-5; an int8 one is off by up to half a step for each class."""

Told = tuple[Postprocess, str]


def output_of(tensor: Tensor, values: NDArray[np.float32], labels: tuple[str, ...], *, has_classes: bool) -> Output:
    """Describe one output from its real ``values`` (N, …) on data.

    ``has_classes``: the data state a class for each sample. Raises `DataError` if the labels are not one a class.
    """
    check_labels(tensor, labels)
    postprocess, _ = tell(values, known_classes=bool(labels) or has_classes)
    return Output(tensor=tensor, postprocess=postprocess, labels=labels)


def check_labels(tensor: Tensor, labels: tuple[str, ...]) -> None:
    """Raise `DataError` if there are labels and they are not one a class."""
    count = prod(tensor.shape)
    if labels and len(labels) != count:
        raise DataError(f"there are {len(labels)} labels, the model's output {tensor.name!r} has {count} classes")


def tell(values: NDArray[np.float32], *, known_classes: bool) -> Told:
    """What the output is, and the sentence that says why: ``values`` (N, …) are real values on data."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] < 2:
        return Raw(), "one value a sample: reported as it is"
    if _are_probabilities(rows):
        return Classification(activation="none"), "probabilities: every answer lies in 0…1 and sums to 1"
    if known_classes:
        return Classification(
            activation="softmax"
        ), "not in 0…1 or not summing to 1: softmax makes probabilities of them"
    return Raw(), "no probabilities, and neither labels nor classes are known: reported as they are"


def _are_probabilities(rows: NDArray[np.float32]) -> bool:
    inside = bool((rows >= -1e-6).all() and (rows <= 1 + 1e-6).all())
    return inside and bool(np.allclose(rows.sum(axis=1), 1.0, atol=_SUM_TOLERANCE))
