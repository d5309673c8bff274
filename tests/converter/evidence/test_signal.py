import numpy as np
import pytest

from maas_converter.evidence.signal import signal_of


def test_a_tenth_of_the_amplitude_is_20_decibels():
    float32 = np.array([[3.0, 4.0], [0.0, 5.0]], np.float32)
    found = signal_of("out", float32, float32 * np.float32(1.1))
    assert found.snr_db == pytest.approx(20, abs=1e-4)
    assert found.cosine == pytest.approx(1)
    assert found.largest_difference == pytest.approx(0.5)
    assert found.mse == pytest.approx((0.09 + 0.16 + 0.25) / 4, rel=1e-5)


def test_equal_outputs_have_no_ratio_and_no_noise():
    values = np.array([[1.0, 2.0]], np.float32)
    found = signal_of("out", values, values)
    assert (found.snr_db, found.mse, found.largest_difference) == (None, 0, 0)
    assert found.cosine == pytest.approx(1)


def test_zeros_break_nothing():
    zeros, ones = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert signal_of("out", zeros, zeros).cosine == 1
    silent = signal_of("out", zeros, ones)
    assert (silent.snr_db, silent.cosine, silent.mse) == (None, 0, 1)


def test_opposite_outputs_have_the_cosine_of_minus_one():
    values = np.array([[1.0, -2.0]], np.float32)
    assert signal_of("out", values, -values).cosine == pytest.approx(-1)
