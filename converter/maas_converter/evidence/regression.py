"""How far a model's numbers are from the true ones, and what quantizing it changed."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.base.statistics import Figure, bootstrap_means, percentile_interval

Values = NDArray[np.generic]


class RegressionScore(msgspec.Struct, frozen=True, tag_field="task", tag="regression"):
    """One model on one data set, in the unit of the target. Intervals are 95 % (bootstrap over samples)."""

    samples: int
    mae: Figure
    """Mean absolute error."""
    rmse: Figure
    """Root of the mean squared error: large errors weigh more."""
    r2: Figure | None
    """Share of the targets' variance that is explained, 1 at best; ``None`` if they do not vary."""


class RegressionComparison(msgspec.Struct, frozen=True, tag_field="task", tag="regression"):
    """How far float model and bundle were from the targets of one set of samples."""

    mae_increase: Figure
    """Mean absolute error of the bundle less that of the float model; its interval is of paired differences."""
    significant: bool
    """Whether that interval excludes zero."""


def score(values: NDArray[np.float32], y: Values) -> RegressionScore:
    """Judge the real output values (N, …) of a model by the targets ``y`` (N, …), as many a sample.

    R² pools all values of a sample; its interval takes the targets' mean over the whole data set as given.
    """
    errors, targets = _errors(values, y), _rows(y)
    spread = np.mean((targets - targets.mean(axis=0)) ** 2, axis=1)
    columns = np.stack([np.mean(np.abs(errors), axis=1), np.mean(errors**2, axis=1), spread], axis=1)
    mae, mse, variance = columns.mean(axis=0)
    draws = bootstrap_means(columns) if len(columns) > 1 else None
    r2 = None
    if variance > 0:
        r2 = _figure(1 - mse / variance, None if draws is None else _explained(draws))
    return RegressionScore(
        samples=len(targets),
        mae=_figure(mae, None if draws is None else draws[:, 0]),
        rmse=_figure(np.sqrt(mse), None if draws is None else np.sqrt(draws[:, 1])),
        r2=r2,
    )


def compare(float32: NDArray[np.float32], bundle: NDArray[np.float32], y: Values) -> RegressionComparison:
    """Compare two models' real output values (N, …) on the same samples."""
    before, after = (np.mean(np.abs(_errors(values, y)), axis=1) for values in (float32, bundle))
    more = (after - before)[:, None]
    increase = _figure(more.mean(), bootstrap_means(more)[:, 0] if len(more) > 1 else None)
    return RegressionComparison(mae_increase=increase, significant=increase.excludes_zero)


def _explained(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of one sample many times has no variance
        explained: NDArray[np.float64] = 1 - draws[:, 1] / draws[:, 2]
    return explained


def _figure(value: float, draws: NDArray[np.float64] | None) -> Figure:
    return Figure(float(value), percentile_interval(draws) if draws is not None else None)


def _errors(values: NDArray[np.float32], y: Values) -> NDArray[np.float64]:
    return _rows(values) - _rows(y)


def _rows(values: Values) -> NDArray[np.float64]:
    return values.reshape(len(values), -1).astype(np.float64)
