"""How well a score tells the samples to be found from normal ones, and what quantizing the model changed.

A model of one output value is its own score. One whose output is as large as its input is taken for an autoencoder: the
score of a sample is the mean squared difference between its real input and the output.
"""

from math import prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input
from maas_agent.processing.preprocess import preprocessor
from maas_converter.base.statistics import Figure, auc_drop, auc_interval, bootstrap_means, percentile_interval, roc_auc
from maas_converter.evidence.task import is_reconstruction

Scores = NDArray[np.float64]


class AnomalyScore(msgspec.Struct, frozen=True, tag_field="task", tag="anomaly"):
    """One model on one data set; a sample to be found should score higher than a normal one."""

    samples: int
    anomalies: int
    """Samples of class 1: those to be found."""
    found: str
    """What the data call class 1, if they name it."""
    auc: Figure
    """Area under the ROC curve; 0.5 is chance, below it the score points the wrong way."""
    mse: Figure | None
    """Of an autoencoder: mean squared reconstruction error of normal samples, in squared units of the input."""
    mse_anomalies: Figure | None
    """The same of the samples to be found."""


class AnomalyComparison(msgspec.Struct, frozen=True, tag_field="task", tag="anomaly"):
    """What the bundle lost of the float model's ranking of one set of samples."""

    auc_drop: Figure
    """ROC AUC lost; its interval is DeLong's for paired curves."""
    significant: bool
    """Whether that interval excludes zero."""


def real_inputs(spec: Input, samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """What models are shown (N, …input) for ``samples`` (N, …sample): preprocessed, before any quantization."""
    tensor = msgspec.structs.replace(spec.tensor, dtype="float32", quantization=None)
    prepare = preprocessor(msgspec.structs.replace(spec, tensor=tensor))
    return np.stack([prepare(sample) for sample in samples]).astype(np.float32)


def scores_of(values: NDArray[np.float32], inputs: NDArray[np.float32]) -> Scores:
    """The anomaly score (N,) of each sample, from the real outputs (N, …) and the real inputs (N, …)."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    if not _reconstructs(values, inputs):
        return rows[:, 0]
    errors: Scores = np.mean((rows - inputs.reshape(len(inputs), -1)) ** 2, axis=1)
    return errors


def score(
    values: NDArray[np.float32], inputs: NDArray[np.float32], y: NDArray[np.int64], found: str = ""
) -> AnomalyScore:
    """Judge the real outputs (N, …) of a model; ``y`` (N,) is 1 for the samples to be found, else 0, both occur."""
    scores, wanted = scores_of(values, inputs), y == 1
    auc, anomalies = roc_auc(scores, wanted), int(np.sum(wanted))
    errors = _reconstructs(values, inputs)
    return AnomalyScore(
        samples=len(y),
        anomalies=anomalies,
        found=found,
        auc=Figure(auc, auc_interval(auc, anomalies, len(y) - anomalies)),
        mse=_mean(scores[~wanted]) if errors else None,
        mse_anomalies=_mean(scores[wanted]) if errors else None,
    )


def compare(
    float32: NDArray[np.float32], bundle: NDArray[np.float32], inputs: NDArray[np.float32], y: NDArray[np.int64]
) -> AnomalyComparison:
    """Compare two models' real outputs (N, …) on the same samples."""
    before, after = scores_of(float32, inputs), scores_of(bundle, inputs)
    drop = Figure(*auc_drop(before, after, y == 1))
    return AnomalyComparison(auc_drop=drop, significant=drop.excludes_zero)


def _reconstructs(values: NDArray[np.float32], inputs: NDArray[np.float32]) -> bool:
    return is_reconstruction(prod(values.shape[1:]), prod(inputs.shape[1:]))


def _mean(scores: Scores) -> Figure:
    interval = percentile_interval(bootstrap_means(scores[:, None])[:, 0]) if len(scores) > 1 else None
    return Figure(float(scores.mean()), interval)
