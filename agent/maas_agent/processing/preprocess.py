"""Samples to model inputs: the manifest's preprocessing steps, then quantization."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, LogMel, Normalize, Preprocess, Quantization, Scale
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


def _chain(spec: Input) -> Step:
    """All steps, what they need computed once, and the quantization of the tensor; shapes are the steps' own."""
    tensor = spec.tensor
    if not spec.preprocess and tensor.quantization is None:
        return lambda sample: sample.astype(tensor.dtype, copy=False)
    steps = [_step(step) for step in spec.preprocess]

    def chain(sample: Array) -> Array:
        values: Array = sample.astype(np.float32)
        for step in steps:
            values = step(values)
        return quantize(values, tensor.quantization, tensor.dtype)

    return chain


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
