"""The evaluation data in three parts."""

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.quantize.search.measuring.parts import split


def test_the_parts_share_no_sample_and_have_every_class_alike():
    y = np.repeat(np.arange(10), [300, 20, 10, 10, 100, 100, 100, 100, 130, 130])
    parts = split(1000, y, seed=1)
    rows = np.concatenate([parts.search, parts.validation, parts.held_out])
    assert (len(parts.search), len(parts.validation)) == (200, 300)
    assert sorted(rows) == list(range(1000))
    for number in range(10):
        share = np.mean(y == number)
        for part in (parts.search, parts.validation, parts.held_out):
            assert abs(np.mean(y[part] == number) - share) < 0.01


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    y = np.arange(200) % 5
    again, other = split(200, y, 1), split(200, y, 2)
    assert np.array_equal(split(200, y, 1).held_out, again.held_out)
    assert not np.array_equal(again.held_out, other.held_out)


def test_parts_of_many_samples_are_bounded():
    parts = split(20_000, None, 1)
    assert (len(parts.search), len(parts.validation), len(parts.held_out)) == (256, 1000, 4000)


def test_too_few_samples_are_refused_with_a_way_out():
    with pytest.raises(DataError, match=r"at least 50 evaluation samples, there are 49.*--quantize int8"):
        split(49, None, 1)
