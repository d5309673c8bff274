"""How many labels of a multilabel output are right: a plain figure beside the error of its scores."""

from math import log

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Multilabel, Postprocess


def right_labels(values: NDArray[np.float32], y: NDArray[np.generic], told: Multilabel) -> tuple[float, float]:
    """The share of all labels that are rightly named or left out, and micro F1: ``y`` (N, labels) are 0 and 1."""
    wanted = y.reshape(len(y), -1) == 1
    named = values.reshape(len(values), -1) >= _threshold(told)
    hits = int(np.sum(named & wanted))
    return float(np.mean(named == wanted)), 2 * hits / max(1, int(named.sum() + wanted.sum()))


def told_of(values: NDArray[np.float32], y: NDArray[np.generic] | None, told: Postprocess | None) -> tuple[str, ...]:
    """The sentence with both figures, where the output is multilabel and ``y`` says which labels there are."""
    if y is None or not isinstance(told, Multilabel) or y.size != values.size or not np.isin(y, (0, 1)).all():
        return ()
    share, f1 = right_labels(values, y, told)
    return (f"{share:.2%} of the labels are right at the threshold {told.threshold:g}; micro F1 {f1:.4f}",)


def _threshold(told: Multilabel) -> float:
    """Of the values as the model answers them, before any sigmoid."""
    if told.activation == "none":
        return told.threshold
    share = min(max(told.threshold, 1e-12), 1 - 1e-12)
    return log(share / (1 - share))
