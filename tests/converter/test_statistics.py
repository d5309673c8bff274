"""Figures against published or hand-computed ones."""

import numpy as np
import pytest

from maas_converter.statistics import paired_drop_points, wilson_interval


def test_wilsons_interval_is_the_published_one():
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_equal_models_are_never_equal_for_certain():
    right = np.ones(50, bool)
    drop, (low, high) = paired_drop_points(right, right)
    assert drop == 0
    assert low < 0 < high
    assert high == pytest.approx(100 * 1.96 / 52, abs=0.01)


def test_only_samples_on_which_models_differ_count():
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 80 + [False] * 10 + [True] * 5 + [False] * 5)
    drop, (low, high) = paired_drop_points(before, after)
    assert drop == pytest.approx(5.0)
    assert low < 5.0 < high


def test_one_sample_proves_nothing_and_breaks_nothing():
    drop, (low, high) = paired_drop_points(np.array([True]), np.array([False]))
    assert drop == 100
    assert -100 <= low < high <= 100
