"""What 'y' means is understood in every usual form, or told."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.base.console import SilentProgress
from maas_converter.data.dataset import Dataset, StoredSamples
from maas_converter.data.formats import load
from maas_converter.evidence.evaluate import evaluate_bundle
from maas_converter.evidence.meant import found_second, meant
from tests.bundles import make_bundle, samples
from tests.converter.evidence.test_evaluate import answers


def dataset(y, classes=(), by_name=False):
    return Dataset(Path("d.npz"), "", StoredSamples(np.zeros((len(y), 4))), np.asarray(y), classes, by_name)


ONE_HOT = np.eye(3)[[2, 0, 1, 1]]


@pytest.mark.parametrize(
    ("y", "size", "expected", "said"),
    [
        (ONE_HOT, 3, [2, 0, 1, 1], "one-hot"),
        (ONE_HOT.astype(bool), 3, [2, 0, 1, 1], "one-hot"),
        (np.eye(2)[[1, 0]], 1, [1, 0], "one-hot"),
        ([[1.0], [3.0], [2.0]], 3, [0, 2, 1], "less 1"),
        ([-1, 1, 1], 1, [0, 1, 1], "-1 and 1"),
        ([-1, 1, 1], 2, [0, 1, 1], "-1 and 1"),
    ],
)
def test_other_ways_to_write_class_numbers_are_understood_and_told(y, size, expected, said):
    found = meant(dataset(y), size, None)
    assert found.y.tolist() == expected
    assert said in found.notes[0]


@pytest.mark.parametrize(
    ("y", "size"), [([0, 1, 2], 3), ([1, 2], 3), ([0.5, 1.5], 1), (np.ones((4, 3)) * 7, 3), (np.eye(4), 3)]
)
def test_what_needs_no_understanding_stays(y, size):
    given = dataset(y)
    assert meant(given, size, None) is given


def test_soft_and_several_labels_are_told():
    soft = np.array([[0.2, 0.8], [0.5, 0.5]])
    assert "'y' are probabilities" in meant(dataset(soft), 2, None).notes[0]
    assert meant(dataset(soft), 2, "classification").y.tolist() == [1, 0]
    assert "several labels a sample" in meant(dataset([[1, 1, 0], [0, 0, 0]]), 3, None).notes[0]
    assert meant(dataset(ONE_HOT), 3, "regression").notes == ()


@pytest.mark.parametrize(
    ("names", "turned"),
    [(("anomaly", "normal"), True), (("Bad", "GOOD"), True), (("normal", "anomaly"), False), (("cat", "dog"), False)],
)
def test_what_is_to_be_found_is_known_by_its_name(names, turned):
    found = found_second(dataset([0, 1, 1], names))
    assert found.y.tolist() == ([1, 0, 0] if turned else [0, 1, 1])
    assert found.classes == (names[::-1] if turned else names)


@pytest.fixture
def judged(tmp_path):
    """Evaluate a bundle of so many values on 40 samples; ``y`` is made of its answers."""

    def run(count, y_of, **more):
        path = make_bundle(tmp_path / f"{count}.maas", classes=count)
        values = answers(path, tmp_path, 40)
        np.savez(tmp_path / "data.npz", x=samples(40, seed=1), y=y_of(values), **more)
        return evaluate_bundle(path, tmp_path / "data.npz", SilentProgress())

    return run


def test_one_hot_classes_are_judged_as_classes(judged):
    found = judged(10, lambda values: np.eye(10)[values.argmax(axis=1)])
    assert found.score.accuracy == 1.0 and "one-hot" in found.notes[0]


def test_classes_in_another_order_than_the_labels_are_numbered_by_name(judged):
    order = [f"Class {number}" for number in range(10)][::-1]
    found = judged(10, lambda values: 9 - values.argmax(axis=1), classes=np.array(order))
    assert found.score.accuracy == 1.0
    assert "numbered by name" in found.notes[0]


def test_classes_that_are_no_labels_are_told_and_the_numbers_taken(judged):
    names = np.array([f"Klasse {number}" for number in range(10)])
    found = judged(10, lambda values: values.argmax(axis=1), classes=names)
    assert found.score.accuracy == 1.0
    assert "classes without a label: Klasse 0, " in found.notes[0]


def test_only_some_classes_at_other_numbers_than_their_labels_are_refused(judged):
    names = np.array(["class-1", "class-0", *(f"Klasse {number}" for number in range(2, 10))])
    with pytest.raises(DataError, match=r"classes without a label: Klasse 2, .*; labels without a class: class-2"):
        judged(10, lambda values: values.argmax(axis=1), classes=names)


def test_classes_numbered_otherwise_than_the_models_are_told(judged):
    found = judged(10, lambda values: (values.argmax(axis=1) + 1) % 10)
    assert found.score.accuracy == 0.0
    assert any("numbered otherwise than the model's: 100% would be right if" in note for note in found.notes)


def test_a_score_that_points_the_wrong_way_is_told_or_turned(judged):
    def wrong(values):
        errors = np.mean((values - samples(40, seed=1).reshape(40, 64) / 255) ** 2, axis=1)
        return (errors < np.median(errors)).astype(int)

    found = judged(64, wrong)
    assert found.score.auc.value == 0.0 and any("points the wrong way" in note for note in found.notes)
    turned = judged(64, wrong, classes=np.array(["anomaly", "normal"]))
    assert turned.score.auc.value == 1.0 and "'anomaly' is what is to be found" in turned.notes[-1]


def test_names_that_differ_in_case_and_spaces_are_the_same(tmp_path):
    (tmp_path / "data.csv").write_text("a,b,label\n1,2,Great Owl\n3,4,cat\n")
    assert load(tmp_path / "data.csv", ("cat", "great_owl")).y.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no labels: Great Owl; labels are cat, owl, of which the data lack owl"):
        load(tmp_path / "data.csv", ("cat", "owl"))
