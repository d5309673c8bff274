import numpy as np
import pytest

from maas_converter.evidence import regression


def test_every_figure_of_a_worked_example():
    y = np.array([1.0, 2.0, 3.0, 4.0])
    score = regression.score(np.array([[1.0], [2.0], [3.0], [8.0]], np.float32), y)
    assert score.mae.value == 1.0
    assert score.rmse.value == 2.0
    assert score.r2.value == pytest.approx(1 - 16 / 5)
    assert score.samples == 4


def test_it_agrees_with_scikit_learn_on_several_values_a_sample():
    from sklearn import metrics

    random = np.random.default_rng(1)
    y = random.normal(size=(200, 2, 3))
    values = (y + random.normal(0, 0.3, y.shape)).astype(np.float32)
    score = regression.score(values, y)
    flat, found = y.reshape(200, 6), values.reshape(200, 6)
    assert score.mae.value == pytest.approx(metrics.mean_absolute_error(flat, found))
    assert score.rmse.value == pytest.approx(np.sqrt(metrics.mean_squared_error(flat, found)))
    assert score.r2.value == pytest.approx(metrics.r2_score(flat, found, multioutput="variance_weighted"), abs=1e-6)
    for figure in (score.mae, score.rmse, score.r2):
        assert figure.interval[0] < figure.value < figure.interval[1]


def test_targets_that_do_not_vary_have_no_explained_variance():
    score = regression.score(np.ones((5, 1), np.float32), np.ones(5))
    assert score.r2 is None
    assert score.mae.value == 0


def test_one_sample_has_figures_but_no_intervals():
    score = regression.score(np.array([[2.0]], np.float32), np.array([1.5]))
    assert (score.mae.value, score.mae.interval) == (0.5, None)
    assert regression.compare(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), np.ones(1)).significant is False


def test_a_shift_on_every_sample_is_significant_and_symmetric_noise_is_not():
    random = np.random.default_rng(2)
    y = random.normal(size=300)
    before = (y + random.normal(0, 0.2, 300)).astype(np.float32)
    shifted = regression.compare(before, before + np.float32(0.3), y)
    assert shifted.significant
    assert shifted.mae_increase.interval[0] > 0
    as_good = regression.compare(before, (y + random.normal(0, 0.2, 300)).astype(np.float32), y)
    assert not as_good.significant
