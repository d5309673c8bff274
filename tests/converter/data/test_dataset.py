"""A data set and a model: samples in the sample's form, class numbers and targets that fit."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError
from maas_agent.processing import fit
from maas_converter.data.dataset import Dataset, SampleFiles, StoredSamples, classes_of, samples_of, targets_of

GRAY = Decode((2, 2, 1), "uint8", color="gray")


def stored(x, y=None, classes=(), by_name=False):
    y = None if y is None else np.asarray(y)
    return Dataset(Path("set.npz"), "0" * 64, StoredSamples(np.asarray(x)), y, classes, by_name)


@pytest.mark.parametrize("shape", [(3, 2, 2, 1), (3, 2, 2), (3, 4), (3, 1, 2, 2)])
def test_samples_that_are_flat_or_lack_a_size_of_1_are_forgiven(shape):
    x = np.arange(12).reshape(shape)
    samples = samples_of(stored(x), GRAY)
    assert samples.shape == (3, 2, 2, 1) and samples.dtype == np.uint8
    assert samples.ravel().tolist() == list(range(12))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((3, 4, 1, 1)), r"the shape \[4, 1, 1\], the model takes \[2, 2, 1\]"),
        (np.zeros((3, 5)), "the model takes"),
        (np.zeros(3), "the model takes"),
        (np.full((3, 2, 2), 256), "'x' is int64, samples are uint8: a value does not fit"),
        (np.full((3, 2, 2), 0.5), "does not fit"),
    ],
)
def test_samples_that_no_device_would_take_are_refused(x, words):
    with pytest.raises(DataError, match=words):
        samples_of(stored(x), GRAY)


def test_many_samples_are_taken_in_turns(monkeypatch):
    monkeypatch.setattr(fit, "MAX_BATCH", 4)
    x = np.arange(44, dtype=np.uint8).reshape(11, 4)
    np.testing.assert_array_equal(samples_of(stored(x), GRAY).reshape(11, 4), x)


def test_more_than_memory_should_hold_is_refused_before_it_is_taken():
    files = SampleFiles(tuple(Path(f"{number}.png") for number in range(2000)), "image")
    with pytest.raises(DataError, match=r"2000 samples, decoded 22\.4 GiB; at most 4 GiB"):
        samples_of(Dataset(Path("set"), "0" * 64, files, None, ()), Decode((2000, 2000, 3), "uint8"))


def test_class_numbers_are_whole_and_below_the_models_count():
    x = np.zeros((3, 4))
    assert classes_of(stored(x), 10) is None
    for y in ([0, 2, 1], [0.0, 2.0, 1.0], [[0], [2], [1]], np.array([0, 2, 1], np.uint8)):
        numbers = classes_of(stored(x, y), 3)
        assert numbers is not None and numbers.dtype == np.int64
        assert numbers.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1, 3], "goes up to 3, the model has 3 classes"),
        ([0, 1, -1], "begin at 0"),
        ([0, 1, 0.5], "no class numbers"),
        ([[0, 1], [1, 0], [1, 0]], r"'y' \[3, 2\] holds int64 values that are no class numbers"),
        ([0, 1, 1e300], "no class numbers"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_other_numbers_are_no_classes(y, words):
    with pytest.raises(DataError, match=words):
        classes_of(stored(np.zeros((3, 4)), y), 3)


def test_names_of_some_of_the_models_classes_have_no_numbers():
    """Two folders of ten classes would be numbered 0 and 1, whichever they are."""
    some = stored(np.zeros((2, 4)), [0, 1], ("crane", "heron"), by_name=True)
    with pytest.raises(DataError, match=r"has 2 classes \(crane, heron\), the model has 10: give --labels"):
        classes_of(some, 10)
    assert classes_of(some, 2) is not None
    assert classes_of(stored(np.zeros((2, 4)), [0, 1], ("crane", "heron")), 10) is not None


def test_targets_are_numbers_of_any_shape():
    for y in ([0.5, -1, 3], [[1, 2], [3, 4], [5, 6]], np.array([1, 2, 3], np.int8)):
        targets = targets_of(stored(np.zeros((3, 4)), y))
        assert targets.dtype == np.float32
        np.testing.assert_array_equal(targets, y)
    with pytest.raises(DataError, match="no targets"):
        targets_of(stored(np.zeros((3, 4))))
    with pytest.raises(DataError, match="names of classes"):
        targets_of(stored(np.zeros((3, 4)), [0, 1, 0], ("crane", "heron"), by_name=True))


def test_the_type_of_samples_follows_what_is_stored():
    assert stored(np.zeros((2, 2), np.uint8)).sample_dtype == "uint8"
    assert stored(np.zeros((2, 2), np.int64)).sample_dtype == "float32"
    for form, dtype in (("image", "uint8"), ("audio", "float32")):
        assert Dataset(Path("x"), "", SampleFiles((Path("a"),), form), None, ()).sample_dtype == dtype
