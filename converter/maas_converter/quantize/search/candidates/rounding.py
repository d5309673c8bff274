"""Weights rounded to 4 bits so that the op's output changes least, not each weight: the ``gptq`` of a plan.

Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: accurate post-training quantization for generative pre-trained
transformers", ICLR 2023: weights are rounded one after another, and those not yet rounded make up for the error, as far
as what the op was fed on real data (its second moments) says they can. litert-quantizer has it for dense layers;
a convolution is one over patches. Where the error has a mean, the bias takes it (Nagel, van Baalen, Blankevoort and
Welling, "Data-free quantization through weight equalization and bias correction", ICCV 2019).

The result is a float model whose weights lie on the grid that rounding by the largest weight then finds.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

LEVELS = 7
"""4 bits, symmetric: -7…7. The kernels take no offset of weights, so -8 has no counterpart."""

WIDEST = 4096
"""Most inputs of an output: the moments are a matrix of that many rows and columns."""

_DAMPING = 0.01
"""Share of the mean second moment that is added to each, as in the paper."""

_CLIPS = np.linspace(1.0, 0.4, 25)
"""Scales to try for each output, as shares of the one that holds its largest weight."""


class Moments(msgspec.Struct, frozen=True):
    """What an op was fed: the mean (K,) of its inputs' patches, and of their products (K, K)."""

    mean: Matrix
    products: Matrix


class Rounded(msgspec.Struct, frozen=True):
    """New weights (O, K) on a grid of 15 values an output, and what to add to the bias (O,)."""

    weights: Matrix
    bias: Matrix


def rounded(weights: Matrix, moments: Moments) -> Rounded:
    """Round ``weights`` (O, K), one row an output."""
    scales = _scales(weights, moments.products)
    integers = _compensated(weights, scales, moments.products)
    integers = _on_full_range(integers, weights, scales)
    found = integers * scales
    return Rounded(found, (weights - found) @ moments.mean)


def _scales(weights: Matrix, products: Matrix) -> Matrix:
    """The step (O, 1) of each output whose nearest rounding errs least."""
    largest: Matrix = np.abs(weights).max(axis=1, keepdims=True)
    largest[largest == 0] = 1.0
    best, least = largest / LEVELS, np.full(largest.shape, np.inf)
    for clip in _CLIPS:
        scales = largest * clip / LEVELS
        left = weights - _nearest(weights, scales) * scales
        errors = ((left @ products) * left).sum(axis=1, keepdims=True)
        best, least = np.where(errors < least, scales, best), np.minimum(errors, least)
    found: Matrix = best
    return found


def _compensated(weights: Matrix, scales: Matrix, products: Matrix) -> Matrix:
    """Integers (O, K), column after column, the inputs that matter most first."""
    order = np.argsort(-np.diag(products), kind="stable")
    factor = _inverse_factor(products[np.ix_(order, order)])
    left, integers = weights[:, order].copy(), np.empty(weights.shape)
    for column in range(left.shape[1]):
        integers[:, column] = _nearest(left[:, column : column + 1], scales)[:, 0]
        error = (left[:, column] - integers[:, column] * scales[:, 0]) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    back = np.empty_like(integers)
    back[:, order] = integers
    return back


def _inverse_factor(products: Matrix) -> Matrix:
    """The upper Cholesky factor of the damped moments' inverse."""
    diagonal = np.diag(products).copy()
    damping = _DAMPING * float(diagonal.mean()) or 1.0
    damped = products + np.diag(np.where(diagonal == 0, damping, 0.0) + damping)
    factor: Matrix = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor


def _on_full_range(integers: Matrix, weights: Matrix, scales: Matrix) -> Matrix:
    """Outputs that use no outermost step would be given another grid afterwards: those are rounded to the nearest."""
    short = np.abs(integers).max(axis=1) < LEVELS
    integers[short] = _nearest(weights[short], scales[short])
    return integers


def _nearest(weights: Matrix, scales: Matrix) -> Matrix:
    found: Matrix = np.clip(np.rint(weights / scales), -LEVELS, LEVELS)
    return found
