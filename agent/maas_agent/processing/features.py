"""Sound to spectrograms: what the manifest's ``log_mel`` step computes.

The scale is HTK's, mel = 1127 ln(1 + Hz / 700), and the bands are triangles on that scale, evenly spaced: the same
weights as ``tf.signal.linear_to_mel_weight_matrix``. The window is the periodic Hann window of ``tf.signal.stft``.
Source: S. Young et al., The HTK Book 3.4, section 5.4 (filterbank analysis).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import LogMel

Features = NDArray[np.float32]

_BLOCK = 1 << 20
"""Samples of all frames that are transformed at a time."""


def log_mel(step: LogMel) -> Callable[[NDArray[np.float32]], Features]:
    """Build the function from sound (samples,) to features (frames, bands), or (frames, coefficients)."""
    window = _hann(step.frame)
    bands = mel_weights(step)
    cosines = cosine_transform(step.bands, step.coefficients) if step.coefficients else None
    rows = max(1, _BLOCK // step.frame)

    def features(sound: NDArray[np.float32]) -> Features:
        # In float64, for the power of a quiet band is the difference of large terms; the result is float32.
        frames = np.lib.stride_tricks.sliding_window_view(sound, step.frame)[:: step.hop]
        blocks = [_log_power(frames[at : at + rows] * window, bands, step.floor) for at in range(0, len(frames), rows)]
        logarithms = np.concatenate(blocks)
        return np.asarray(logarithms if cosines is None else logarithms @ cosines, np.float32)

    return features


def mel_weights(step: LogMel) -> NDArray[np.float64]:
    """The weight (frequencies, bands) of each of the ``frame // 2 + 1`` frequencies in each band."""
    frequencies = _mel(np.fft.rfftfreq(step.frame, 1 / step.sample_rate))[:, np.newaxis]
    edges = np.linspace(_mel(step.low_hz), _mel(step.top_hz), step.bands + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return np.clip(np.minimum(rising, falling), 0, None)


def cosine_transform(bands: int, coefficients: int) -> NDArray[np.float64]:
    """The type-II, orthonormal cosine transform as a matrix (bands, coefficients)."""
    angles = np.pi / bands * (np.arange(bands)[:, np.newaxis] + 0.5) * np.arange(coefficients)
    matrix = np.sqrt(2 / bands) * np.cos(angles)
    matrix[:, 0] /= np.sqrt(2)
    return np.asarray(matrix, np.float64)


def _log_power(frames: NDArray[np.float64], bands: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(frames)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.log(power @ bands + floor), np.float64)


def _hann(size: int) -> NDArray[np.float64]:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi / size * np.arange(size)), np.float64)


def _mel(hertz: float | NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0), np.float64)
