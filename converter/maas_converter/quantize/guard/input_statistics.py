"""Statistics of a data set's values as they reach the model: after decoding and preprocessing."""

from collections.abc import Iterable
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

BINS = 32

_MOST_CHANNELS = 16
"""A last axis longer than this is no axis of channels: it is looked at as one."""

_PER_SAMPLE = 64
"""Values of one sample and channel that are kept: neighbours say nearly the same."""


class ChannelStatistics(msgspec.Struct, frozen=True):
    """One channel; ``counts`` are those of 32 equal bins from the lowest to the highest value of all channels."""

    low: float
    high: float
    mean: float
    std: float
    counts: tuple[int, ...]


class InputStatistics(msgspec.Struct, frozen=True):
    """One data set as model inputs. Values that are not finite are left out of everything but ``not_finite``."""

    name: str
    samples: int
    not_finite: int
    """Samples that hold NaN or an infinite value."""
    identical: bool
    """Whether all samples are the same, of at least two."""
    channels: tuple[ChannelStatistics, ...]
    values: NDArray[np.float32]
    """(channels, n), sorted: some of each sample's values."""
    spreads: NDArray[np.float32]
    """(samples,): the standard deviation within each sample."""

    @property
    def low(self) -> float:
        """The lowest value."""
        return min(channel.low for channel in self.channels)

    @property
    def high(self) -> float:
        """The highest value."""
        return max(channel.high for channel in self.channels)

    @property
    def range(self) -> str:
        """The lowest and the highest value, for a sentence."""
        return f"{self.low:.4g} … {self.high:.4g}"


def statistics_of(name: str, tensors: Iterable[NDArray[Any]]) -> InputStatistics:
    """Measure the model's input tensors, one a sample, (1, …, channels). Memory holds some values of each."""
    kept, spreads, ends, sums = [], [], [], []
    first, identical, broken = None, True, 0
    for tensor in tensors:
        rows = tensor.astype(np.float32).reshape(-1, _channels(tensor.shape))
        if not np.isfinite(rows).all():
            broken += 1
            continue
        first = rows if first is None else first
        identical = identical and np.array_equal(first, rows)
        kept.append(rows[:: -(-len(rows) // _PER_SAMPLE)])
        spreads.append(float(rows.std()))
        ends.append((rows.min(axis=0), rows.max(axis=0)))
        sums.append((rows.mean(axis=0, dtype=np.float64), np.square(rows, dtype=np.float64).mean(axis=0)))
    if not kept:
        return InputStatistics(name, broken, broken, False, (), np.empty((0, 0), np.float32), np.empty(0, np.float32))
    values = np.sort(np.concatenate(kept).T, axis=1)
    return InputStatistics(
        name=name,
        samples=len(kept) + broken,
        not_finite=broken,
        identical=identical and len(kept) > 1,
        channels=_channel_statistics(values, ends, sums),
        values=values,
        spreads=np.array(spreads, np.float32),
    )


def _channels(shape: tuple[int, ...]) -> int:
    if len(shape) < 3 or shape[-1] > _MOST_CHANNELS or prod(shape[:-1]) < 2:
        return 1
    return shape[-1]


def _channel_statistics(values: NDArray[np.float32], ends: list[Any], sums: list[Any]) -> tuple[ChannelStatistics, ...]:
    low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
    mean, square = np.mean([each[0] for each in sums], axis=0), np.mean([each[1] for each in sums], axis=0)
    edges = np.linspace(float(low.min()), max(float(high.max()), float(low.min()) + 1e-6), BINS + 1)
    return tuple(
        ChannelStatistics(
            low=float(low[number]),
            high=float(high[number]),
            mean=float(mean[number]),
            std=float(np.sqrt(max(square[number] - mean[number] ** 2, 0.0))),
            counts=tuple(int(count) for count in np.histogram(values[number], edges)[0]),
        )
        for number in range(len(low))
    )
