"""From a data set to figures, for each task, and where answers are missing."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Tensor
from maas_agent.errors import DataError
from maas_converter.data.dataset import Dataset, StoredSamples
from maas_converter.evidence.scoring import compare, score_of, truth_of

SPEC = Input(Tensor("in", (1, 3), "float32"), Decode((3,), "float32"))
X = np.zeros((4, 3), np.float32)


def dataset(y, classes=()):
    return Dataset(path=Path("data.npz"), sha256="0" * 64, source=StoredSamples(X), y=np.array(y), classes=classes)


def truth(task, y, size, labels=(), classes=()):
    return truth_of(task, dataset(y, classes), Tensor("out", (1, size), "float32"), labels, SPEC, X)


def test_labels_are_the_models_own_else_the_datas_else_numbers():
    names = ("a", "b", "c")
    assert truth("classification", [0, 1, 2, 0], 3, names, ("x", "y", "z")).labels == names
    assert truth("classification", [0, 1, 2, 0], 3, (), ("x", "y", "z")).labels == ("x", "y", "z")
    assert truth("classification", [0, 1, 2, 0], 3, (), ("x",)).labels == ("0", "1", "2")


def test_classes_the_model_does_not_have_are_refused_with_the_files_name():
    with pytest.raises(DataError, match=r"data\.npz.*3 classes"):
        truth("classification", [0, 1, 2, 3], 3)


def test_samples_without_an_answer_are_left_out():
    known = truth("classification", [0, 1, 1, 0], 2)
    values = np.array([[1, 0], [0, 1], [np.nan, np.nan], [0, 1]], np.float32)
    score = score_of(known, values)
    assert (score.samples, score.correct) == (3, 2)
    other = np.array([[1, 0], [np.nan, np.nan], [0, 1], [0, 1]], np.float32)
    assert compare(known, values, other).agreement.value == 1.0
    assert score_of(known, np.full((4, 2), np.nan, np.float32)) is None
    assert compare(known, np.full((4, 2), np.nan, np.float32), values) is None


def test_each_task_has_its_own_figures():
    assert score_of(truth("regression", [0.5, 1, 2, 3], 1), np.ones((4, 1), np.float32)).mae.value == 0.875
    anomaly = score_of(truth("anomaly", [0, 0, 1, 1], 1, classes=("fine", "broken")), np.arange(4.0)[:, None])
    assert (anomaly.auc.value, anomaly.found) == (1.0, "broken")


def test_an_anomaly_score_of_one_kind_of_answered_samples_is_none():
    known = truth("anomaly", [0, 0, 1, 1], 1)
    assert score_of(known, np.array([[1], [2], [np.nan], [np.nan]], np.float32)) is None
