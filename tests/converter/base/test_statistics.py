"""Figures against published or hand-computed ones, or against another implementation."""

import numpy as np
import pytest

from maas_converter.base.statistics import (
    auc_drop,
    auc_interval,
    bootstrap_means,
    macro_intervals,
    macro_scores,
    mcnemar_p,
    paired_drop_points,
    percentile_interval,
    roc_auc,
    wilson_interval,
)


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


class TestMcNemar:
    def test_it_is_the_binomial_tail(self):
        """10 against 2 of 12 fair tosses: 2 (1 + 12 + 66) / 4096."""
        assert mcnemar_p(10, 2) == pytest.approx(158 / 4096)
        assert mcnemar_p(2, 10) == mcnemar_p(10, 2)
        assert mcnemar_p(0, 6) == pytest.approx(2 / 64)

    def test_equal_losses_prove_nothing(self):
        assert mcnemar_p(0, 0) == mcnemar_p(5, 5) == 1.0

    def test_many_samples_neither_overflow_nor_vanish(self):
        """As SciPy's ``binomtest(29000, 59000)`` says."""
        assert mcnemar_p(30_000, 29_000) == pytest.approx(3.90702e-05, rel=1e-4)


class TestRocAuc:
    def test_ties_count_half(self):
        """Positives 3, 2, 1 against negatives 2, 0: four pairs won, one tied, one lost."""
        scores = np.array([3.0, 2.0, 1.0, 2.0, 0.0])
        assert roc_auc(scores, np.array([1, 1, 1, 0, 0], bool)) == pytest.approx(4.5 / 6)

    def test_it_agrees_with_scikit_learn(self):
        from sklearn.metrics import roc_auc_score

        random = np.random.default_rng(3)
        positive = random.random(400) < 0.3
        scores = np.round(random.normal(positive * 1.0, 1), 1)
        assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)

    def test_the_variance_is_that_of_hanley_and_mcneil(self):
        """Radiology 143 (1982), from their formula by hand: 0.893 on 51 and 58 samples has the standard error 0.032."""
        low, high = auc_interval(0.893, 51, 58)
        assert (high - low) / (2 * 1.96) == pytest.approx(0.032, abs=0.002)
        assert low < 0.893 < high

    def test_a_perfect_ranking_is_not_perfect_for_certain(self):
        low, high = auc_interval(1.0, 10, 10)
        assert high == 1.0
        assert 0.6 < low < 0.95
        assert auc_interval(0.0, 10, 10) == pytest.approx((0.0, 1 - low), abs=1e-9)

    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self):
        """Two normal distributions 1.8 deviations apart have the area Φ(1.8 / √2) = 0.8985."""
        random, positive = np.random.default_rng(5), np.arange(50) < 20
        hits = 0
        for _ in range(500):
            low, high = auc_interval(roc_auc(random.normal(positive * 1.8, 1), positive), 20, 30)
            hits += low <= 0.8985 <= high
        assert 0.92 <= hits / 500 <= 0.995

    def test_a_paired_drop_is_narrower_than_two_separate_intervals(self):
        random, positive = np.random.default_rng(7), np.arange(200) < 80
        before = random.normal(positive * 1.5, 1)
        after = before + random.normal(0, 0.1, 200)
        drop, interval = auc_drop(before, after, positive)
        assert drop == pytest.approx(roc_auc(before, positive) - roc_auc(after, positive))
        assert interval is not None
        alone = auc_interval(roc_auc(before, positive), 80, 120)
        assert interval[1] - interval[0] < (alone[1] - alone[0]) / 3

    def test_delongs_interval_is_that_of_the_bootstrap(self):
        random, positive = np.random.default_rng(8), np.arange(300) < 100
        before, after = random.normal(positive * 1.5, 1), random.normal(positive * 1.0, 1)
        _, interval = auc_drop(before, after, positive)
        draws = []
        for _ in range(500):
            rows = np.concatenate([random.choice(np.flatnonzero(kind), kind.sum()) for kind in (positive, ~positive)])
            draws.append(roc_auc(before[rows], positive[rows]) - roc_auc(after[rows], positive[rows]))
        assert interval == pytest.approx(percentile_interval(np.array(draws)), abs=0.02)

    def test_models_that_rank_alike_and_too_few_samples_give_no_interval(self):
        scores, positive = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
        assert auc_drop(scores, scores, positive) == (0.0, None)
        assert auc_drop(scores, -scores, np.array([False, False, False, True])) == (1.0, None)


class TestMacro:
    def test_it_agrees_with_scikit_learn(self):
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        random = np.random.default_rng(2)
        true = random.integers(0, 7, 500)
        answered = np.where(random.random(500) < 0.7, true, random.integers(0, 7, 500))
        answered[answered == 3] = 4  # never answered: divides by zero
        expected = precision_recall_fscore_support(true, answered, average="macro", zero_division=0)[:3]
        assert macro_scores(confusion_matrix(true, answered)) == pytest.approx(expected)

    def test_a_class_that_is_not_there_is_left_out(self):
        assert macro_scores(np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]])) == (1.0, 1.0, 1.0)

    def test_intervals_are_the_same_each_time_and_hold_the_figure(self):
        confusion = np.random.default_rng(1).integers(0, 12, (30, 30)) + np.eye(30, dtype=np.int64) * 40
        first, again = macro_intervals(confusion), macro_intervals(confusion)
        assert first == again
        for value, (low, high) in zip(macro_scores(confusion), first, strict=True):
            assert 0 <= low < value < high <= 1

    def test_the_recall_of_equal_classes_has_about_the_interval_of_accuracy(self):
        confusion = np.array([[150, 50], [30, 170]])
        low, high = macro_intervals(confusion)[1]
        assert (low, high) == pytest.approx(wilson_interval(320, 400), abs=0.015)


class TestBootstrap:
    def test_means_have_the_interval_of_the_textbook(self):
        values = np.random.default_rng(4).normal(10, 2, (400, 1))
        low, high = percentile_interval(bootstrap_means(values)[:, 0])
        half = 1.96 * float(values.std(ddof=1)) / 20
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)

    def test_columns_are_drawn_together_and_the_same_each_time(self):
        values = np.random.default_rng(4).normal(size=50)
        draws = bootstrap_means(np.stack([values, 3 * values], axis=1))
        assert draws[:, 1] == pytest.approx(3 * draws[:, 0])
        assert np.array_equal(draws, bootstrap_means(np.stack([values, 3 * values], axis=1)))

    def test_draws_that_are_not_finite_are_left_out(self):
        assert percentile_interval(np.array([1.0, 1.0, np.nan, -np.inf])) == (1.0, 1.0)
