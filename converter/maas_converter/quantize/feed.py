"""What a model is given while its ranges are measured."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class Feed(msgspec.Struct, frozen=True):
    """What a model's inputs are given, one sample at a time: all of them at once need not fit into memory."""

    count: int
    at: Callable[[int], list[Array]]
    """By the sample's number: one whole tensor for each input."""
