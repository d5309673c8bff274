"""One input, one sample at a time, every size fixed."""

import pytest

from maas_agent.errors import DataError
from maas_converter.importers.inputs import fixed_shape, only_input

FIXED = [
    ((None, 8, 8), None, (1, 8, 8)),
    ((32, 8, 8), (8, 8), (1, 8, 8)),
    ((-1, -1, -1, 3), (96, 64, 3), (1, 96, 64, 3)),
    ((None,), (15600,), (15600,)),
    ((-1,), (1,), (1,)),
    ((100,), None, (100,)),
    ((100,), (100,), (100,)),
    ((16, 16, 3), (16, 16, 3), (16, 16, 3)),
    (None, (4,), (1, 4)),
]


@pytest.mark.parametrize(("shape", "wanted", "fixed"), FIXED)
def test_a_batch_becomes_one_and_open_sizes_what_was_asked(shape, wanted, fixed):
    assert fixed_shape(shape, wanted) == fixed


REFUSED = [
    ((None, None, None, 3), None, r"\(any, any, 3\).*every size but the batch.*--input-shape 96,96,3"),
    ((None, None, None, 3), (96, 96, 1), r"--input-shape 96,96,1 does not fit its input, which is \(any, any, 3\)"),
    ((None, 8, 8), (8, 8, 1), "does not fit"),
    ((None, None), (0,), "1 or more"),
    (None, None, "no shape at all"),
    ((), None, "without a batch"),
    ((None,), None, "no batch, as that of a waveform.*--input-shape 15600; if .* --input-shape 1$"),
    ((100,), (50,), r"--input-shape 50 does not fit its input, which is \(100\)"),
    ((None, 8), (32, 8), "does not fit"),
]


@pytest.mark.parametrize(("shape", "wanted", "words"), REFUSED)
def test_what_stays_open_or_does_not_fit_is_refused(shape, wanted, words):
    with pytest.raises(DataError, match=words):
        fixed_shape(shape, wanted)


@pytest.mark.parametrize(
    ("names", "words"), [([], "build the model"), (["left", "right"], r"2 inputs \(left, right\)")]
)
def test_one_input_it_has(names, words):
    with pytest.raises(DataError, match=words):
        only_input(names)
    only_input(["image"])


def test_what_may_be_a_picture_without_a_batch_is_refused_with_both_ways_out():
    with pytest.raises(DataError, match=r"--input-shape 16,16,3; if 16 is a batch, give --input-shape 16,3"):
        fixed_shape((16, 16, 3), None)
    assert fixed_shape((16, 16, 3), (16, 3)) == (1, 16, 3)


@pytest.mark.parametrize("shape", [(None, 16, 3), (-1, 16, 3), (1, 16, 3), (8, 16, 16, 3), (8, 20)])
def test_other_shapes_have_their_batch_first(shape):
    assert fixed_shape(shape, None) == (1, *shape[1:])
