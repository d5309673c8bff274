"""Samples that are stored as numbers, in the shape and type that a model takes."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError, DecodeError
from maas_agent.processing.decode import MAX_BATCH, as_samples

Array = NDArray[np.generic]


def fitted(x: Array, spec: Decode, name: str) -> Array:
    """``x`` (N, …) as samples (N, …sample) in the sample's dtype; ``name`` is the file's.

    Flat samples and those with a size of 1 more or less are forgiven; values that would change are not. Raises
    `DataError`.
    """
    found, wanted = x.shape[1:], spec.shape
    flat = len(found) == 1 and x[0].size == prod(wanted)
    if found != wanted and (flat or _squeezed(found) == _squeezed(wanted)):
        x = x.reshape(len(x), *wanted)
    if x.shape[1:] != wanted:
        raise DataError(
            f"{name}: a sample has the shape {list(found)}, the model takes {list(wanted)}{_hint(found, wanted)}"
        )
    samples = np.empty((len(x), *wanted), spec.dtype)
    for at in range(0, len(x), MAX_BATCH):
        try:
            samples[at : at + MAX_BATCH] = as_samples(x[at : at + MAX_BATCH], spec).samples
        except DecodeError as error:
            row = at + _first_bad(x[at : at + MAX_BATCH], spec)
            raise DataError(
                f"{name}: 'x' is {x.dtype}, samples are {spec.dtype}: {error}, first in sample {row}"
            ) from None
    return samples


def _hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(found) == len(wanted) == 3 and (found[1], found[2], found[0]) == wanted:
        return ": channels come first in it; store x.transpose(0, 2, 3, 1)"
    return ""


def _first_bad(samples: Array, spec: Decode) -> int:
    for row, sample in enumerate(samples):
        try:
            as_samples(sample, spec)
        except DecodeError:
            return row
    return 0


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
