"""A picture without a batch is not taken for a batch of rows."""

import pytest

from maas_agent.errors import DataError
from maas_converter.importers.inputs import fixed_shape


def test_what_may_be_a_picture_without_a_batch_is_refused_with_both_ways_out():
    with pytest.raises(DataError, match=r"--input-shape 16,16,3; if 16 is a batch, give --input-shape 16,3"):
        fixed_shape((16, 16, 3), None)
    assert fixed_shape((16, 16, 3), (16, 3)) == (1, 16, 3)


@pytest.mark.parametrize("shape", [(None, 16, 3), (-1, 16, 3), (1, 16, 3), (8, 16, 16, 3), (8, 20)])
def test_other_shapes_have_their_batch_first(shape):
    assert fixed_shape(shape, None) == (1, *shape[1:])
