"""Weights on 15 values: less error in what comes out than rounding each to the nearest."""

import numpy as np

from maas_converter.quantize.search.candidates.rounding import LEVELS, Moments, rounded


def _case(outputs: int = 12, inputs: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, K), and what they are fed (N, K): correlated, as pixels are, and not centred."""
    random = np.random.default_rng(1)
    mixing = random.normal(size=(6, inputs))
    fed = random.normal(size=(2000, 6)) @ mixing + 0.3 * random.normal(size=(2000, inputs)) + 1.0
    return random.normal(size=(outputs, inputs)), fed


def _moments(fed: np.ndarray) -> Moments:
    return Moments(fed.mean(axis=0), fed.T @ fed / len(fed))


def _error(weights: np.ndarray, new: np.ndarray, fed: np.ndarray, bias: np.ndarray | float = 0.0) -> float:
    return float(np.mean((fed @ (weights - new).T - bias) ** 2))


def test_the_output_errs_far_less_than_with_the_nearest_values():
    weights, fed = _case()
    scales = np.abs(weights).max(axis=1, keepdims=True) / LEVELS
    nearest = np.rint(weights / scales) * scales
    found = rounded(weights, _moments(fed))
    assert _error(weights, found.weights, fed, found.bias) < _error(weights, nearest, fed) / 3


def test_the_bias_takes_the_mean_of_the_error():
    weights, fed = _case()
    found = rounded(weights, _moments(fed))
    left = fed @ (weights - found.weights).T - found.bias
    assert np.abs(left.mean(axis=0)).max() < 1e-9
    assert _error(weights, found.weights, fed, found.bias) <= _error(weights, found.weights, fed)


def test_rounding_by_the_largest_weight_finds_the_same_grid_again():
    """That is what litert-quantizer does to the result: it has to change nothing."""
    weights, fed = _case()
    weights[3] *= 1e-3
    found = rounded(weights, _moments(fed)).weights
    scales = np.abs(found).max(axis=1, keepdims=True) / LEVELS
    assert np.allclose(found / scales, np.rint(found / scales), atol=1e-9)


def test_outputs_without_weights_and_inputs_without_values_do_no_harm():
    weights, fed = _case()
    weights[5], fed[:, 7] = 0.0, 0.0
    found = rounded(weights, _moments(fed))
    assert np.isfinite(found.weights).all()
    assert not found.weights[5].any()
    nothing = rounded(weights, Moments(np.zeros(40), np.zeros((40, 40))))
    assert np.isfinite(nothing.weights).all()
