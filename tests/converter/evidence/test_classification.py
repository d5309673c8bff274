import numpy as np
import pytest

from maas_converter.base.statistics import paired_drop_points
from maas_converter.evidence import classification

LABELS = ("ant", "bee", "cat", "dog")


def values_of(answers, classes=4):
    """Scores (N, classes) whose best class is the answer; the next best ones follow it."""
    return np.stack([np.roll(np.linspace(1, 0, classes), answer) for answer in answers]).astype(np.float32)


def test_every_figure_of_a_worked_example():
    y = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    score = classification.score(values_of([0, 0, 1, 1, 1, 2, 0, 1]), y, LABELS)
    assert (score.samples, score.correct, score.accuracy) == (8, 5, 5 / 8)
    assert score.confusion == ((2, 1, 0, 0), (0, 2, 0, 0), (1, 1, 1, 0), (0, 0, 0, 0))
    bee = score.classes[1]
    assert (bee.label, bee.samples, bee.correct, bee.answered) == ("bee", 2, 2, 4)
    assert (bee.precision, bee.recall, bee.f1) == pytest.approx((0.5, 1.0, 2 / 3))
    assert score.recall.value == pytest.approx((2 / 3 + 1 + 1 / 3) / 3), "no dog occurs, none is answered"
    assert score.precision.value == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert [(pair.true, pair.answered) for pair in score.confused] == [("ant", "bee"), ("cat", "ant"), ("cat", "bee")]
    for figure in (score.precision, score.recall, score.f1, score.top["3"]):
        assert figure.interval[0] <= figure.value <= figure.interval[1]


def test_top_k_counts_the_true_class_among_the_best_and_only_where_k_says_something():
    score = classification.score(values_of([0, 0, 0, 0]), np.array([0, 1, 2, 3]), LABELS)
    assert set(score.top) == {"3"}, "the best 5 of 4 classes hold every class"
    assert score.top["3"].value == 3 / 4
    six = classification.score(values_of([0] * 6, 6), np.arange(6), tuple("abcdef"))
    assert (six.top["3"].value, six.top["5"].value) == (3 / 6, 5 / 6)


def test_among_equal_scores_the_lower_class_wins_as_on_a_device():
    score = classification.score(np.zeros((3, 4), np.float32), np.array([0, 1, 2]), LABELS)
    assert score.correct == 1
    assert score.classes[0].answered == 3


def test_a_thousand_classes_have_no_matrix_but_their_worst_pairs():
    y = np.arange(1000)
    answers = np.where(y < 40, (y + 1) % 1000, y)
    score = classification.score(np.eye(1000, dtype=np.float32)[answers], y, tuple(f"class {n}" for n in y))
    assert score.confusion == ()
    assert len(score.confused) == 30
    assert score.accuracy == 0.96


class TestCompare:
    def test_a_real_loss_is_significant_and_noise_is_not(self):
        y = np.zeros(200, np.int64)
        right, worse, moved = np.zeros(200, int), np.zeros(200, int), np.zeros(200, int)
        worse[:12] = 1
        right[100:103], moved[:3] = 1, 1
        loss = classification.compare(values_of(right * 0), values_of(worse), y)
        assert (loss.lost, loss.won, loss.significant) == (12, 0, True)
        assert loss.p == pytest.approx(2 / 2**12)
        assert loss.drop_points.value == 6.0
        assert loss.drop_points.interval[0] > 0
        noise = classification.compare(values_of(right), values_of(moved), y)
        assert (noise.lost, noise.won, noise.p, noise.significant) == (3, 3, 1.0, False)
        assert noise.agreement.value == 194 / 200

    def test_the_interval_is_that_of_the_manifest(self):
        random = np.random.default_rng(0)
        y, before, after = (random.integers(0, 4, 300) for _ in range(3))
        found = classification.compare(values_of(before), values_of(after), y).drop_points
        assert (found.value, found.interval) == paired_drop_points(before == y, after == y)
