"""Archives of arrays that are damaged, too large, or not what they say."""

import io
import random
from typing import Any

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_agent.processing.npz import read_arrays

X = np.arange(48, dtype=np.float32).reshape(3, 4, 4)


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def test_the_only_array_is_the_samples_where_that_is_allowed() -> None:
    data = archive(images=X)
    np.testing.assert_array_equal(read_arrays(data, "a.npz", or_the_only_one=True).x, X)
    with pytest.raises(DataError, match=r"a\.npz holds no array 'x'"):
        read_arrays(data, "a.npz")
    with pytest.raises(DataError, match="no array 'x'"):
        read_arrays(archive(images=X, others=X), "a.npz", or_the_only_one=True)


def test_arrays_are_refused_by_their_stated_size() -> None:
    data = archive(x=np.zeros(1 << 20, np.uint8))
    assert len(data) < 1 << 14
    with pytest.raises(DataError, match="arrays, at most"):
        read_arrays(data, "a.npz", 1 << 19)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(compressed: bool) -> None:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, x=X, y=np.arange(3), classes=np.array(["a", "b", "c"]))
    whole, dice, refused = file.getvalue(), random.Random(0), 0
    for _ in range(1000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        del data[dice.choice([len(data), dice.randrange(1, len(data))]) :]
        try:
            read_arrays(bytes(data), "a.npz", 1 << 30)
        except DataError:
            refused += 1
    assert refused > 500
