"""What counts as lost against the float model."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Classification
from maas_converter.quantize.search.measuring.loss import LossCriterion, criterion_of, noise


def _answers(classes: list[int]) -> dict[str, np.ndarray]:
    return {"out": np.eye(4, dtype=np.float32)[classes]}


def test_accuracy_is_judged_by_the_true_classes_of_the_rows_asked_for():
    criterion = LossCriterion("accuracy", np.array([9, 9, 0, 1, 2, 3]))
    loss = criterion.loss(_answers([0, 1, 2, 3]), _answers([0, 1, 2, 0]), np.arange(2, 6))
    assert loss.points == 25.0
    assert loss.interval[0] < 25 < loss.interval[1]


def test_without_classes_a_changed_answer_of_a_classifier_counts_as_lost():
    before = _answers([0, 1, 2, 3])
    criterion = criterion_of(before, None, Classification())
    assert criterion.kind == "agreement"
    assert criterion.loss(before, _answers([0, 1, 2, 0]), np.arange(4)).points == 25.0


def test_a_model_that_is_no_classifier_is_judged_by_its_error():
    values = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32) * 5 + 2
    criterion = criterion_of({"out": values}, None)
    off = values + np.random.default_rng(2).normal(size=values.shape).astype(np.float32) * 0.1
    loss = criterion.loss({"out": values}, {"out": off}, np.arange(200))
    assert criterion.kind == "error"
    assert loss.points == pytest.approx(2.0, rel=0.1)
    assert loss.interval[0] < loss.points < loss.interval[1]


def test_noise_is_the_share_of_the_outputs_variance_and_nan_is_infinite():
    values = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    assert noise({"a": values}, {"a": values}) == 0
    assert noise({"a": values}, {"a": values + 0.1}) == pytest.approx(0.01, rel=0.1)
    assert noise({"a": values}, {"a": values * np.nan}) == float("inf")
    assert noise({"a": np.ones((3, 2), np.float32)}, {"a": np.full((3, 2), 1.1, np.float32)}) == pytest.approx(0.01)
