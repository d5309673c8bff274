"""Sound from one sample rate to another: band-limited interpolation.

Each new sample is a sum of old ones, weighted by a sinc around its place in time under a Kaiser window: a low-pass
filter, as a polyphase bank with a row for each place between two old samples. Up to 0.83 of half of the lower rate
the level is kept to 0.01 dB; what is above that half, and would come back as another tone, is suppressed by 70 dB.

Sources: J. O. Smith, Digital Audio Resampling (Stanford CCRMA), "Theory of Ideal Bandlimited Interpolation"; window:
J. F. Kaiser, R. W. Schafer, On the Use of the I0-Sinh Window for Spectrum Analysis, 1980.

soxr costs little (0.4 MiB, 2 ms; 1.1 on x86-64), and has no wheel for 32-bit ARM; scipy's resample_poly comes with all
of scipy. The converter computes what devices compute, so there is one way for all three.
"""

from functools import lru_cache
from math import ceil, gcd
from sys import maxsize

import numpy as np
from numpy.typing import NDArray

MAX_RATIO = 4096
"""How many times as high the old rate may be: the filter is as long."""

_CROSSINGS = 24
"""Zero crossings of the sinc to each side."""
_CUTOFF = 0.917
"""Of half of the lower rate: the transition, 0.17 of it wide, ends at that half."""
_KAISER_BETA = 7.0
_WEIGHTS = 1 << 18
"""Weights of a bank: 1 MiB."""
_BLOCK = 1 << 14
"""Weights that are applied at a time. 64 KiB stay in the cache, and are not fetched from the system each time."""


def needed(samples: int, rate: int, target: int) -> int:
    """How many samples at ``rate`` so many at ``target`` (both Hz) depend on."""
    return samples if rate == target else ceil(samples * rate / target) + _reach(rate, target)


def resampled(sound: NDArray[np.float32], rate: int, target: int, most: int | None = None) -> NDArray[np.float32]:
    """``sound`` (samples,) at ``rate`` Hz as (ceil(samples * target / rate),) at ``target`` Hz.

    Before and after it is silence. No more than the first ``most`` samples are computed: a few at 1 Hz would be
    millions.
    """
    if rate == target:
        return sound[:most]
    divisor = gcd(rate, target)
    up, down = target // divisor, rate // divisor
    bank = _bank(rate, target)
    phases, width = bank.shape
    reach = width // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (reach, reach + 1)), width)
    result = np.empty(min(-(-len(sound) * up // down), most or maxsize), np.float32)
    rows = max(1, _BLOCK // width)
    for begin in range(0, len(result), rows):
        numbers = np.arange(begin, min(begin + rows, len(result)), dtype=np.int64)
        # The nearest phase; in whole numbers, for a float's place would drift in a long recording.
        before, phase = np.divmod((numbers * down * phases + up // 2) // up, phases)
        # The window that begins at k has the sound's samples k - reach to k + reach - 1.
        result[begin : begin + rows] = np.einsum("ij,ij->i", windows[before + 1], bank[phase])
    return result


@lru_cache(maxsize=4)
def _bank(rate: int, target: int) -> NDArray[np.float32]:
    """Weights (phases, 2 * reach) of the samples around places between two of them, from 0 to below 1.

    Rates with a large common divisor have few phases. For others so many are kept that the nearest one is off by
    70 dB less than the sound.
    """
    reach = _reach(rate, target)
    phases = min(target // gcd(rate, target), max(1, _WEIGHTS // (2 * reach)))
    cutoff = _CUTOFF * min(1.0, target / rate)
    distance = np.arange(1 - reach, reach + 1) - np.arange(phases)[:, np.newaxis] / phases
    inside = np.sqrt(np.clip(1 - (distance * cutoff / _CROSSINGS) ** 2, 0, None))
    weights = np.where(inside > 0, np.sinc(cutoff * distance) * np.i0(_KAISER_BETA * inside), 0)
    # A constant stays what it is, whatever the place.
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _reach(rate: int, target: int) -> int:
    """How far a weight reaches to each side, in samples at ``rate``."""
    return ceil(_CROSSINGS / (_CUTOFF * min(1.0, target / rate)))
