"""Golden samples: inputs with the outputs the converter measured, as one blob.

MessagePack rather than ``.npz``: reading it needs neither a zip reader nor NumPy's file format, and its arrays
are views of bytes whose length is checked before they are used.
"""

from math import prod
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import DType
from maas_agent.errors import BundleError
from maas_agent.untrusted import MALFORMED


class _Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: tuple[int, ...]
    dtype: DType
    data: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    samples: _Array
    outputs: dict[str, _Array]


class GoldenSamples(msgspec.Struct, frozen=True):
    """``samples`` (N, …sample) as decoded, and per output its real values (N, …) as float32.

    A row of NaN says that the bundle has no such output for that sample: its stage was skipped.
    """

    samples: NDArray[np.generic]
    outputs: dict[str, NDArray[np.float32]]


def encode_golden(golden: GoldenSamples) -> bytes:
    """Serialize golden samples; the same samples give the same bytes."""
    outputs = {name: _packed(values.astype(np.float32)) for name, values in sorted(golden.outputs.items())}
    return msgspec.msgpack.encode(_File(samples=_packed(golden.samples), outputs=outputs))


def decode_golden(data: bytes) -> GoldenSamples:
    """Read golden samples; raise `BundleError` if the blob is none or its arrays do not fit."""
    try:
        file = msgspec.msgpack.decode(data, type=_File)
    except MALFORMED as error:
        raise BundleError(f"golden samples are not readable: {error}") from None
    samples = _unpacked(file.samples)
    outputs = {name: _unpacked(array).astype(np.float32) for name, array in file.outputs.items()}
    for name, values in outputs.items():
        if not values.ndim or not samples.ndim or len(values) != len(samples):
            raise BundleError(f"golden output {name!r} does not have one row a sample")
    return GoldenSamples(samples=samples, outputs=outputs)


def _packed(array: NDArray[np.generic]) -> _Array:
    dtype = cast(DType, array.dtype.name)
    return _Array(shape=array.shape, dtype=dtype, data=np.ascontiguousarray(array).tobytes())


def _unpacked(array: _Array) -> NDArray[np.generic]:
    dtype = np.dtype(array.dtype)
    if any(size < 0 for size in array.shape) or prod(array.shape) * dtype.itemsize != len(array.data):
        raise BundleError(f"golden samples: {len(array.data)} bytes are not {array.shape} of {dtype}")
    try:
        return np.frombuffer(array.data, dtype=dtype).reshape(array.shape)
    except (ValueError, OverflowError) as error:  # more dimensions, or a larger one, than NumPy has
        raise BundleError(f"golden samples have an unusable shape: {error}") from None
