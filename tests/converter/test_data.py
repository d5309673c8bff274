"""Data files are checked in themselves as they are read."""

import pickle

import numpy as np
import pytest

from maas_agent.errors import DataError, NoInputError
from maas_converter.data import load, read_labels

GOOD = np.zeros((4, 2, 2), np.uint8)

BAD = {
    "no x": ({"z": GOOD}, "no array 'x'"),
    "empty": ({"x": np.zeros((0, 2, 2), np.uint8)}, "no samples"),
    "a number": ({"x": np.uint8(3)}, "no samples"),
    "words": ({"x": np.array(["a", "b"])}, "not numbers"),
    "nan": ({"x": np.array([[0.0], [np.nan]])}, "first in sample 1"),
    "infinity": ({"x": np.array([[np.inf], [0.0]])}, "first in sample 0"),
    "y of another length": ({"x": GOOD, "y": np.zeros(3, int)}, "'y' has the shape [3]"),
    "y in two dimensions": ({"x": GOOD, "y": np.zeros((4, 1), int)}, "'y' is (N,)"),
    "y of fractions": ({"x": GOOD, "y": np.full(4, 0.5)}, "no class numbers"),
    "y below zero": ({"x": GOOD, "y": np.full(4, -1)}, "begin at 0"),
    "y of words": ({"x": GOOD, "y": np.array(["a", "b", "c", "d"])}, "no class numbers"),
    "classes in two dimensions": ({"x": GOOD, "classes": np.array([["a"]])}, "no list of names"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_array_is_refused_with_what_and_where(case, tmp_path):
    arrays, words = BAD[case]
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError) as caught:
        load(path)
    assert words in str(caught.value)
    assert "data.npz" in str(caught.value)


def test_a_good_file_is_read_whole(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=GOOD, y=np.array([0.0, 1.0, 2.0, 1.0]), classes=np.array(["a", "b", "c"]))
    dataset = load(path)
    assert dataset.name == "set"
    assert dataset.x.shape == (4, 2, 2)
    assert dataset.y is not None
    assert dataset.y.tolist() == [0, 1, 2, 1]
    assert dataset.classes == ("a", "b", "c")


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "trap.npz", x=np.array([Trap()], dtype=object))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npz", "bare.npz"):
        (tmp_path / "ran").unlink(missing_ok=True)
        with pytest.raises(DataError):
            load(tmp_path / name)
        assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, x=np.zeros((100, 8, 8)))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError):
        load(path)


def test_what_is_not_read_is_refused_with_what_is(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.npz"):
        load(path)


def test_what_is_not_there_is_no_input(tmp_path):
    with pytest.raises(NoInputError):
        load(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(NoInputError):
        load(tmp_path / "folder.npz")


@pytest.mark.parametrize(("text", "words"), [("", "no labels"), ("a\n\nb\n", "line 2"), ("\n", "no labels")])
def test_labels_without_a_name_are_refused(text, words, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_labels(path)


def test_labels_keep_their_order_and_may_repeat(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("crane\n  heron \ncrane\n\n")
    assert read_labels(path) == ("crane", "heron", "crane")
