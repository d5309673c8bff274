"""The table of `maas_converter.evidence.task`, line by line."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError, UsageError
from maas_converter.evidence.task import task_of, why_none

CLASSES = np.array([0, 3, 9, 1])
BINARY = np.array([0, 1, 1, 0])
REAL = np.array([0.5, 1.25, 3.0, 2.0])


def outputs(*sizes):
    return tuple(Tensor(f"out{number}", (1, size), "float32") for number, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("y", "output", "expected"),
    [
        (CLASSES, 10, "classification"),
        (CLASSES[:, None], 10, "classification"),
        (CLASSES.astype(np.float32), 10, "classification"),
        (BINARY, 2, "classification"),
        (BINARY, 1, "anomaly"),
        (BINARY, 64, "anomaly"),
        (BINARY.astype(bool), 64, "anomaly"),
        (REAL, 1, "regression"),
        (CLASSES, 1, "regression"),
        (np.ones((4, 3)), 3, "regression"),
        (np.ones((4, 8, 8)), 64, "regression"),
    ],
)
def test_y_and_the_output_tell_the_task(y, output, expected):
    assert task_of(y, outputs(output), input_size=64) == expected


def test_two_classes_of_a_model_of_two_inputs_are_no_reconstruction():
    assert task_of(BINARY, outputs(2), input_size=2) == "classification"


def test_what_was_asked_for_wins_where_it_fits():
    assert task_of(BINARY, outputs(64), 64, "classification") == "classification"
    assert task_of(BINARY, outputs(1), 64, "regression") == "regression"


@pytest.mark.parametrize(
    ("y", "output", "asked", "said"),
    [
        (CLASSES, 64, "anomaly", "both kinds"),
        (np.ones(4, int), 1, "anomaly", "both kinds"),
        (BINARY, 5, "anomaly", "this output has 5"),
        (REAL, 10, "classification", "class numbers"),
        (CLASSES, 1, "classification", "two values or more"),
        (CLASSES, 5, "classification", "goes from 0 to 9, the model has 5"),
        (CLASSES - 1, 10, "classification", "goes from -1"),
        (CLASSES, 10, "regression", "'y' has 1 values a sample, the model's output has 10"),
        (REAL, 10, None, "the model's output has 10"),
        (CLASSES, 5, None, "the model has 5 classes"),
        (np.ones((4, 3)), 4, None, "'y' has 3 values a sample"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(y, output, asked, said):
    with pytest.raises(DataError, match=f"data.npz: .*{said}"):
        task_of(y, outputs(output), 64, asked, "data.npz")


def test_an_unknown_task_lists_the_choices():
    with pytest.raises(UsageError, match="classification, regression, anomaly"):
        task_of(CLASSES, outputs(10), 64, "segmentation")


def test_several_outputs_are_judged_only_by_choice():
    assert task_of(CLASSES, outputs(10, 10), 64) is None
    assert "2 outputs" in why_none(CLASSES, outputs(10, 10))
    with pytest.raises(UsageError, match="2 outputs"):
        task_of(CLASSES, outputs(10, 10), 64, "classification")


def test_without_y_nothing_is_judged_and_it_is_said():
    assert task_of(None, outputs(10), 64) is None
    assert "no classes 'y'" in why_none(None, outputs(10))
    with pytest.raises(DataError, match="holds no 'y'"):
        task_of(None, outputs(10), 64, "regression")


def test_an_autoencoder_on_normal_samples_only_is_no_classifier():
    assert task_of(np.zeros(4, int), outputs(64), 64) is None
    assert "both kinds" in why_none(np.zeros(4, int), outputs(64))
