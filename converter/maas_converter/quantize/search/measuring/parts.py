"""The evaluation data in three parts without a common sample: to search on, to choose on, to judge the choice on."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError

Rows = NDArray[np.int64]

FEWEST = 50
"""Evaluation samples without which no part says anything."""

_SEARCH, _VALIDATION = 0.2, 0.3
"""Shares. What is searched on is an error without labels, which settles on few samples; what is judged is a count."""

_MOST = (256, 1000, 4000)
"""Samples of each part, at most: a search runs the first on dozens of models."""


class Parts(msgspec.Struct, frozen=True):
    """Row numbers of the evaluation data, sorted."""

    search: Rows
    validation: Rows
    held_out: Rows


def split(samples: int, y: NDArray[np.int64] | None, seed: int) -> Parts:
    """Split ``samples`` rows at random, every class alike where ``y`` (N,) is known; raises `DataError` if too few."""
    if samples < FEWEST:
        raise DataError(
            f"auto needs at least {FEWEST} evaluation samples, there are {samples}: it searches, chooses and judges "
            "on separate parts of them. Give more, or name a recipe such as --quantize int8"
        )
    order = np.argsort(_places(samples, y, np.random.default_rng(seed)), kind="stable")
    first, second = round(samples * _SEARCH), round(samples * (_SEARCH + _VALIDATION))
    search, validation, held_out = np.split(order, [first, second])
    return Parts(*(np.sort(part[:most]) for part, most in zip((search, validation, held_out), _MOST, strict=True)))


def _places(samples: int, y: NDArray[np.int64] | None, random: np.random.Generator) -> NDArray[np.float64]:
    """A place in 0…1 for each row; those of each class are spread evenly over it."""
    classes = y if y is not None else np.zeros(samples, np.int64)
    places = np.empty(samples)
    for number in np.unique(classes):
        rows = np.flatnonzero(classes == number)
        places[rows] = (random.permutation(len(rows)) + random.random(len(rows))) / len(rows)
    return places
