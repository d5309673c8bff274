"""The parts of the data, and what counts as lost on them."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Classification
from maas_agent.errors import DataError
from maas_converter.quantize.search.measuring.loss import LossCriterion, criterion_of, noise
from maas_converter.quantize.search.measuring.parts import split


def test_the_parts_share_no_sample_and_have_every_class_alike():
    y = np.repeat(np.arange(10), [300, 20, 10, 10, 100, 100, 100, 100, 130, 130])
    parts = split(1000, y, seed=1)
    rows = np.concatenate([parts.search, parts.validation, parts.held_out])
    assert (len(parts.search), len(parts.validation)) == (200, 300)
    assert sorted(rows) == list(range(1000))
    for number in range(10):
        share = np.mean(y == number)
        for part in (parts.search, parts.validation, parts.held_out):
            assert abs(np.mean(y[part] == number) - share) < 0.01


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    y = np.arange(200) % 5
    again, other = split(200, y, 1), split(200, y, 2)
    assert np.array_equal(split(200, y, 1).held_out, again.held_out)
    assert not np.array_equal(again.held_out, other.held_out)


def test_parts_of_many_samples_are_bounded():
    parts = split(20_000, None, 1)
    assert (len(parts.search), len(parts.validation), len(parts.held_out)) == (256, 1000, 4000)


def test_too_few_samples_are_refused_with_a_way_out():
    with pytest.raises(DataError, match=r"at least 50 evaluation samples, there are 49.*--quantize int8"):
        split(49, None, 1)


def _answers(classes: list[int]) -> dict[str, np.ndarray]:
    return {"out": np.eye(4, dtype=np.float32)[classes]}


def test_accuracy_is_judged_by_the_true_classes_of_the_rows_asked_for():
    judge = LossCriterion("accuracy", np.array([9, 9, 0, 1, 2, 3]))
    loss = judge.loss(_answers([0, 1, 2, 3]), _answers([0, 1, 2, 0]), np.arange(2, 6))
    assert loss.points == 25.0
    assert loss.interval[0] < 25 < loss.interval[1]


def test_without_classes_a_changed_answer_of_a_classifier_counts_as_lost():
    before = _answers([0, 1, 2, 3])
    judge = criterion_of(before, None, Classification())
    assert judge.kind == "agreement"
    assert judge.loss(before, _answers([0, 1, 2, 0]), np.arange(4)).points == 25.0


def test_a_model_that_is_no_classifier_is_judged_by_its_error():
    values = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32) * 5 + 2
    judge = criterion_of({"out": values}, None)
    off = values + np.random.default_rng(2).normal(size=values.shape).astype(np.float32) * 0.1
    loss = judge.loss({"out": values}, {"out": off}, np.arange(200))
    assert judge.kind == "error"
    assert loss.points == pytest.approx(2.0, rel=0.1)
    assert loss.interval[0] < loss.points < loss.interval[1]


def test_noise_is_the_share_of_the_outputs_variance_and_nan_is_infinite():
    values = np.random.default_rng(1).normal(size=(500, 2)).astype(np.float32)
    assert noise({"a": values}, {"a": values}) == 0
    assert noise({"a": values}, {"a": values + 0.1}) == pytest.approx(0.01, rel=0.1)
    assert noise({"a": values}, {"a": values * np.nan}) == float("inf")
    assert noise({"a": np.ones((3, 2), np.float32)}, {"a": np.full((3, 2), 1.1, np.float32)}) == pytest.approx(0.01)
