"""Files of arrays are checked in themselves as they are read."""

import pickle

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.data.dataset import StoredSamples
from maas_converter.data.formats import load

GOOD = np.zeros((4, 2, 2), np.uint8)

BAD = {
    "no x": ({"z": GOOD}, "no array 'x'"),
    "empty": ({"x": np.zeros((0, 2, 2), np.uint8)}, "no samples"),
    "a number": ({"x": np.uint8(3)}, "no samples"),
    "words": ({"x": np.array(["a", "b"])}, "not numbers"),
    "nan": ({"x": np.array([[0.0], [np.nan]])}, "first in sample 1"),
    "infinity": ({"x": np.array([[np.inf], [0.0]])}, "first in sample 0"),
    "y of another length": ({"x": GOOD, "y": np.zeros(3, int)}, "'y' has the shape [3]"),
    "y of one number": ({"x": GOOD, "y": np.uint8(3)}, "'y' is (N,)"),
    "y of nothing": ({"x": GOOD, "y": np.zeros((4, 0))}, "'y' has the shape [4, 0]"),
    "y with nan": ({"x": GOOD, "y": np.array([0, 1, np.nan, 1])}, "first in sample 2"),
    "y of words": ({"x": GOOD, "y": np.array(["a", "b", "c", "d"])}, "neither class numbers nor targets"),
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
    assert isinstance(dataset.source, StoredSamples)
    assert dataset.source.x.shape == (4, 2, 2)
    assert dataset.count == 4
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
