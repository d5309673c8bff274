"""Recordings to samples of sound: one channel, the sample's rate, the sample's length."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing import resample, wav


def sample_of(payload: bytes, spec: Decode) -> NDArray[np.generic]:
    """The sample (samples,) in its dtype that a WAV file begins with, filled up with silence where it is shorter.

    What lies behind the sample is neither read nor checked, so a long recording costs no more than a short one.
    Raises `DecodeError`.
    """
    if not spec.sample_rate:
        raise DecodeError(codes.UNSUPPORTED, "this model takes no sound: send raw bytes, JSON or an image")
    wave = wav.parse(payload)
    if wave.rate > resample.MAX_RATIO * spec.sample_rate:
        raise DecodeError(codes.BAD_AUDIO, f"{wave.rate} Hz are too many for a sample at {spec.sample_rate} Hz")
    length = prod(spec.shape)
    needed = resample.needed(length, wave.rate, spec.sample_rate)
    heard = _mixed(wav.read(wave, needed))
    sample = np.zeros(length, np.float32)
    at_rate = resample.resampled(heard, wave.rate, spec.sample_rate, length)
    sample[: len(at_rate)] = at_rate
    return _as_stored(sample, spec.dtype).reshape(spec.shape)


def _mixed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels of (frames, channels)."""
    return values[:, 0] if values.shape[1] == 1 else values.mean(axis=1, dtype=np.float32)


def _as_stored(sample: NDArray[np.float32], dtype: str) -> NDArray[np.generic]:
    # Resampling overshoots at edges: a full-scale square wave leaves -1…1.
    if dtype == "int16":
        return np.clip(np.rint(sample * 32768), -32768, 32767).astype(np.int16)
    return np.clip(sample, -1, 1).astype(dtype)
