"""What constants of a ``.tflite`` file stand for: the real numbers behind DEQUANTIZE, QUANTIZE and DENSIFY."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import GraphFacts, OpFacts

Values = NDArray[Any]

_PLAIN = ("float32", "float16", "int8", "uint8", "int16", "int32")
_DENSE = 0  # schema.fbs, enum DimensionType


def value_of(model: Any, makers: Mapping[int, OpFacts], graph: GraphFacts, index: int) -> Values:
    """The value of tensor ``index`` of the first graph, through the ops on constants that make it (``makers``).

    Raises `DataError` if it is stored in a form that is not undone here.
    """
    tensor = model.subgraphs[0].tensors[index]
    op = makers.get(index)
    if op is None:
        return held_by(model, tensor)
    before = model.subgraphs[0].tensors[op.inputs[0]]
    if op.name == "DENSIFY":
        return _dense(model, before)
    given = value_of(model, makers, graph, op.inputs[0])
    return real(given, before) if op.name == "DEQUANTIZE" else _stored(given, tensor)


def held_by(model: Any, tensor: Any) -> Values:
    """The numbers of a constant as they are stored; raises `DataError`."""
    kind, shape, data = files.type_name(tensor), [int(size) for size in tensor.shape], files.data_of(model, tensor)
    if kind == "int4":  # two in a byte, the first one in its lower half
        pairs = np.frombuffer(data, np.int8)
        return np.stack([pairs << 4 >> 4, pairs >> 4], axis=1).ravel()[: int(np.prod(shape))].reshape(shape)
    if kind not in _PLAIN:
        raise _not_undone(tensor)
    return np.frombuffer(data, kind).reshape(-1 if tensor.sparsity is not None else shape)


def real(stored: Values, tensor: Any) -> NDArray[np.float32]:
    """The real numbers that ``stored`` ones of ``tensor`` stand for; raises `DataError`."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    scales, zeros = _parameters(tensor, stored.ndim)
    return ((stored.astype(np.float64) - zeros) * scales).astype(np.float32)


def step_of(tensor: Any) -> NDArray[np.float64] | None:
    """The scales of a tensor, (1,) or one for each unit; ``None`` if it has none."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    return np.asarray(quantization.scale, np.float64)


def _stored(values: Values, tensor: Any) -> Values:
    """Round as QUANTIZE does: halves away from zero."""
    kind = files.type_name(tensor)
    if kind not in ("int8", "uint8", "int16"):
        raise _not_undone(tensor)
    scales, zeros = _parameters(tensor, values.ndim)
    steps = values.astype(np.float32) / scales.astype(np.float32)
    limits = np.iinfo(kind)
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + zeros
    return np.clip(rounded, limits.min, limits.max).astype(kind)


def _parameters(tensor: Any, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scales and zero points, in a shape that goes with values of ``rank`` dimensions."""
    scales = step_of(tensor)
    if scales is None:
        raise _not_undone(tensor)
    zeros = np.asarray(tensor.quantization.zeroPoint, np.float64)
    axis = int(tensor.quantization.quantizedDimension)
    along = [-1 if number == axis else 1 for number in range(rank)]
    return scales.reshape(along if len(scales) > 1 else [1]), zeros.reshape(along if len(zeros) > 1 else [1])


def _dense(model: Any, tensor: Any) -> Values:
    """A sparse constant with its zeros; without blocks, see schema.fbs, SparsityParameters."""
    sparsity, shape = tensor.sparsity, [int(size) for size in tensor.shape]
    if sparsity is None or (sparsity.blockMap is not None and len(sparsity.blockMap)):
        raise _not_undone(tensor)
    order = [int(axis) for axis in sparsity.traversalOrder]
    values = held_by(model, tensor)
    places: list[tuple[tuple[int, ...], int]] = [((), 0)]
    for level, dimension in enumerate(sparsity.dimMetadata):
        size = shape[order[level]]
        places = [
            (*((*path, number), child),) for path, at in places for number, child in _children(dimension, size, at)
        ]
    made = np.zeros([shape[axis] for axis in order], values.dtype)
    for path, at in places:
        made[path] = values[at]
    return np.transpose(made, np.argsort(order))


def _children(dimension: Any, size: int, at: int) -> list[tuple[int, int]]:
    """Index along one dimension, and place in the next one's list, of what lies below place ``at``."""
    if int(dimension.format) == _DENSE:
        return [(number, at * size + number) for number in range(size)]
    first, last = (int(dimension.arraySegments.values[at + end]) for end in (0, 1))
    return [(int(dimension.arrayIndices.values[place]), place) for place in range(first, last)]


def _not_undone(tensor: Any) -> DataError:
    return DataError(
        f"its constant {files.text(tensor.name)!r} is stored in a form that cannot be undone "
        f"({files.type_name(tensor)}): start from the float model, or leave out --quantize"
    )
