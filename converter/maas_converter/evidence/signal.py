"""How much of an output survives quantization: the float model's answers are the signal, what differs is noise."""

from math import log10

import msgspec
import numpy as np
from numpy.typing import NDArray


class Signal(msgspec.Struct, frozen=True):
    """One output over all samples, in real (dequantized) units."""

    output: str
    snr_db: float | None
    """Signal-to-noise ratio; ``None`` without noise (`mse` is 0) or without signal (the float model answers 0)."""
    cosine: float
    """Mean over samples of the cosine between both answers: 1 where they point the same way."""
    mse: float
    largest_difference: float


class SignalSums:
    """Sums over samples, from which a ratio follows; samples need not be kept."""

    def __init__(self) -> None:
        self._signal = self._noise = self._cosines = 0.0
        self._values = self._samples = 0

    def add(self, float32: NDArray[np.float32], bundle: NDArray[np.float32]) -> None:
        """Add one sample's real values, both of the same size."""
        before, after = (values.reshape(-1).astype(np.float64) for values in (float32, bundle))
        self._signal += float(before @ before)
        self._noise += float(np.sum((before - after) ** 2))
        self._cosines += _cosine(before, after)
        self._values += before.size
        self._samples += 1

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio in dB, ``None`` without either."""
        return 10 * log10(self._signal / self._noise) if self._signal > 0 and self._noise > 0 else None

    @property
    def mse(self) -> float:
        """The mean squared difference of both models' values."""
        return self._noise / max(self._values, 1)

    @property
    def relative_error(self) -> float:
        """Root of noise over signal: 0.1 is 10 % of the signal, or 20 dB; 0 where there is no signal."""
        return float(np.sqrt(self._noise / self._signal)) if self._signal > 0 else 0.0

    @property
    def cosine(self) -> float:
        """The mean over samples of the cosine between both models' values."""
        return self._cosines / max(self._samples, 1)


def signal_of(output: str, float32: NDArray[np.float32], bundle: NDArray[np.float32]) -> Signal:
    """Compare two models' real values (N, …) of one output on the same samples."""
    sums = SignalSums()
    for before, after in zip(float32, bundle, strict=True):
        sums.add(before, after)
    return Signal(
        output=output,
        snr_db=sums.snr_db,
        cosine=sums.cosine,
        mse=sums.mse,
        largest_difference=float(np.max(np.abs(float32 - bundle), initial=0.0)),
    )


def _cosine(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Two zero vectors are alike, a zero vector is like no other."""
    lengths = float(np.linalg.norm(before) * np.linalg.norm(after))
    if lengths == 0:
        return float(not before.any() and not after.any())
    return float(before @ after) / lengths
