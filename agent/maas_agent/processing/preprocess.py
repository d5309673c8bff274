"""Samples to model inputs: the manifest's preprocessing steps, then quantization."""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, LogMel, Normalize, Preprocess, Quantization, Scale, Tensor
from maas_agent.processing.features import log_mel

Array = NDArray[Any]
Step = Callable[[Array], Array]


def preprocessor(spec: Input) -> Step:
    """Build the function that turns one sample into the model's input tensor (its shape and dtype).

    When a sample has 8 bits and every step treats all elements alike, the whole chain is a table of 256
    entries, computed once by the very same steps: the result is the same to the bit, several times faster.
    """
    shape = spec.tensor.shape
    chain = _chain(spec)
    if spec.decode.dtype == "uint8" and all(_elementwise(step) for step in spec.preprocess):
        table = chain(np.arange(256, dtype=np.uint8))
        return lambda sample: table.take(sample).reshape(shape)
    return lambda sample: chain(sample).reshape(shape)


def quantize(values: Array, quantization: Quantization | None, dtype: str) -> Array:
    """Real values to a tensor of ``dtype``: rounded half to even and clipped to its range if it is an integer type."""
    if np.dtype(dtype).kind == "f" or np.dtype(dtype).kind == "b":
        return values.astype(dtype, copy=False)
    if quantization is not None:
        values = values.astype(np.float32) / np.float32(quantization.scale) + np.float32(quantization.zero_point)
    limits = np.iinfo(dtype)
    if limits.bits > 16:
        # float32 has no 2**31 - 1: it would round up to 2**31, and that wraps to the other end of the range.
        values = np.minimum(values.astype(np.float64), np.nextafter(2.0 ** (limits.bits - 1), 0))
    stored: Array = np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return stored


def reach_of(tensor: Tensor) -> tuple[float, float] | None:
    """The lowest and the highest real value that a quantized integer tensor holds; ``None`` of another one."""
    if tensor.quantization is None or np.dtype(tensor.dtype).kind not in "iu":
        return None
    limits, scale, zero_point = np.iinfo(tensor.dtype), tensor.quantization.scale, tensor.quantization.zero_point
    return (int(limits.min) - zero_point) * scale, (int(limits.max) - zero_point) * scale


def outside_of(spec: Input) -> Callable[[Array], bool] | None:
    """Build the function that tells whether values of a sample lie outside the range of a quantized input.

    More than a step outside: less is rounding. ``None`` where no sample can: the input is not quantized, or whatever
    8 bits hold lies within. Steps that treat all elements alike are undone on the bounds, once, so that a sample is
    looked at as it came; after others it is computed once more.
    """
    reach = reach_of(spec.tensor)
    if reach is None or spec.tensor.quantization is None:
        return None
    low, high = reach[0] - spec.tensor.quantization.scale, reach[1] + spec.tensor.quantization.scale
    if not all(_elementwise(step) for step in spec.preprocess):
        steps = [_step(step) for step in spec.preprocess]
        return lambda sample: _leaves(_stepped(sample, steps), low, high)
    for step in reversed(spec.preprocess):
        low, high = sorted(_undone(step, end) for end in (low, high))
    dtype = np.dtype(spec.decode.dtype)
    if dtype.kind in "iu" and low <= np.iinfo(dtype).min and np.iinfo(dtype).max <= high:
        return None
    return lambda sample: _leaves(sample, low, high)


def _leaves(values: Array, low: float, high: float) -> bool:
    # Half a microsecond for 64 values; two reductions of NumPy's take five times as long.
    return bool(values.item(values.argmin()) < low or values.item(values.argmax()) > high)


def _stepped(sample: Array, steps: list[Step]) -> Array:
    values: Array = sample.astype(np.float32)
    for step in steps:
        values = step(values)
    return values


def _undone(step: Preprocess, value: float) -> float:
    """What an elementwise ``step`` makes ``value`` of; a step that makes everything one value is of no end."""
    match step:
        case Scale():
            if not step.scale:
                return inf if value >= step.offset else -inf
            return (value - step.offset) / step.scale
        case Normalize():
            return value * step.std[0] + step.mean[0]
        case LogMel():
            return value


def _chain(spec: Input) -> Step:
    """All steps, what they need computed once, and the quantization of the tensor; shapes are the steps' own."""
    tensor = spec.tensor
    if not spec.preprocess and tensor.quantization is None:
        return lambda sample: sample.astype(tensor.dtype, copy=False)
    steps = [_step(step) for step in spec.preprocess]

    return lambda sample: quantize(_stepped(sample, steps), tensor.quantization, tensor.dtype)


def _step(step: Preprocess) -> Step:
    match step:
        case Scale():
            scale, offset = np.float32(step.scale), np.float32(step.offset)
            return lambda values: values * scale + offset
        case Normalize():
            mean, std = np.asarray(step.mean, np.float32), np.asarray(step.std, np.float32)
            return lambda values: (values - mean) / std
        case LogMel():
            return log_mel(step)


def _elementwise(step: Preprocess) -> bool:
    """Whether a step does the same to every element, wherever it stands."""
    match step:
        case Scale():
            return True
        case Normalize():
            return len(step.mean) == 1 and len(step.std) == 1
        case LogMel():
            return False
