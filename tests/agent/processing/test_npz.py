"""Archives of arrays that are damaged, too large, or not what they say."""

import io
import random
import zipfile
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


def _with(header: bytes, compression: int = zipfile.ZIP_STORED, data: bytes = b"") -> bytes:
    """An archive with a good ``x`` and ``classes`` of this header."""
    made = io.BytesIO()
    x = io.BytesIO()
    np.save(x, np.ones((3, 2)))
    with zipfile.ZipFile(made, "w", compression) as archive:
        archive.writestr("x.npy", x.getvalue())
        archive.writestr("classes.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data)
    return made.getvalue()


@pytest.mark.parametrize(
    "file",
    [
        _with(b"{'descr': '<U0', 'fortran_order': False, 'shape': (1099511627776,)}\n"),
        _with(b"{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}\n", data=b"\xff" * 4),
        _with(b"{'descr': '<U1', 'fortran_order': False, 'shape': (1,\n"),
        _with(b"{}", zipfile.ZIP_LZMA).replace(b"\x5d\0\0\x80", b"\xff\xff\xff\xff"),
    ],
    ids=["names of no bytes without end", "no character", "a header without end", "damaged LZMA"],
)
def test_a_file_that_is_made_to_deceive_is_refused_in_a_sentence(file: bytes) -> None:
    """A trillion empty names took no bytes in the file, and were listed one after the other."""
    with pytest.raises(DataError):
        read_arrays(file, "data.npz")
