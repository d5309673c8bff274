"""Golden samples: inputs with the outputs the converter measured, as one blob.

MessagePack rather than ``.npz``: reading it needs neither a zip reader nor NumPy's file format, and its arrays
are views of bytes whose length is checked before they are used. Large ones are deflated (zlib, RFC 1950): the manifest
states the size that they inflate to, and nothing is inflated beyond it.
"""

import zlib
from math import prod
from typing import Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import DType
from maas_agent.errors import BundleError

_LEVEL = 3
"""Higher ones take seconds for floats, and save a few percent."""

_Float = Literal["float32", "float16"]


class _Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: tuple[int, ...]
    dtype: DType
    data: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    samples: _Array
    outputs: dict[str, _Array]
    decoded: _Float | None = None
    """The type that samples are decoded to, where they are stored in a smaller one that holds the same values."""


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


def deflate_golden(golden: GoldenSamples) -> tuple[bytes, int]:
    """The same, small: the blob, and the size that it inflates to. Pixels given as floats are stored in 8 bits."""
    outputs = {name: _packed(values.astype(np.float32)) for name, values in sorted(golden.outputs.items())}
    stored = _narrowed(golden.samples)
    decoded = cast(_Float, golden.samples.dtype.name) if stored.dtype != golden.samples.dtype else None
    plain = msgspec.msgpack.encode(_File(samples=_packed(stored), outputs=outputs, decoded=decoded))
    return zlib.compress(plain, _LEVEL), len(plain)


def decode_golden(data: bytes, inflated: int = 0) -> GoldenSamples:
    """Read golden samples, deflated ones if the manifest says that they have ``inflated`` bytes.

    Raises `BundleError` if the blob is none, has another size, or its arrays do not fit.
    """
    plain = _inflated(data, inflated) if inflated else data
    try:
        file = msgspec.msgpack.decode(plain, type=_File)
    except MALFORMED as error:
        raise BundleError(f"golden samples are not readable: {error}") from None
    if file.decoded is not None and not inflated:
        raise BundleError("golden samples of another type than that of samples have to be deflated")
    samples = _unpacked(file.samples)
    outputs = {name: _unpacked(array).astype(np.float32) for name, array in file.outputs.items()}
    for name, values in outputs.items():
        if not values.ndim or not samples.ndim or len(values) != len(samples):
            raise BundleError(f"golden output {name!r} does not have one row a sample")
    return GoldenSamples(samples=samples.astype(file.decoded or samples.dtype, copy=False), outputs=outputs)


def _inflated(data: bytes, size: int) -> bytes:
    """``data`` inflated to just ``size`` bytes; never more than one more is made."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise BundleError(f"golden samples cannot be inflated: {error}") from None
    if len(plain) != size or not stream.eof or stream.unused_data:
        raise BundleError(f"golden samples do not inflate to the {size} bytes that the manifest states")
    return plain


def _narrowed(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same values in the smallest integer type that holds them to the bit, where samples are floats."""
    if samples.dtype.kind != "f" or not samples.size:
        return samples
    for kind in ("uint8", "int8", "int16"):
        limits = np.iinfo(kind)
        if samples.min() >= limits.min and samples.max() <= limits.max:
            stored = samples.astype(kind)
            if stored.astype(samples.dtype).tobytes() == samples.tobytes():  # bytes, for -0.0 equals 0
                return stored
    return samples


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
