"""Biases that are too large for their place, and weights whose scale makes room for them.

A bias is stored as a 32-bit number of steps of input scale x weight scale. Where a unit has weights of (nearly) 0 and a
bias, as one that always answers 1.0, the steps are so small that the number does not fit: litert-quantizer cuts it, and
what was 1.0 answers 0. A larger weight scale for that unit costs nothing that was there.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_converter.tflite import model as files

_MOST = 1 << 29
"""Steps that a bias may have: the products that are added to it have to fit beside it."""

_HOLDERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_BIAS_AT = {"TRANSPOSE_CONV": 3}
_INTEGERS = {"int8": 8, "int4": 4}

Floats = NDArray[np.float64]


def with_room(float32: bytes, quantized: bytes) -> bytes:
    """``quantized``, made of ``float32``, with each cut bias whole again; the same bytes if none was cut."""
    source, model = files.parse(float32), files.parse(quantized)
    wanted = _biases(source)
    changed = False
    for graph in model.subgraphs[:1]:
        for op in graph.operators:
            changed = _make_room(model, graph, op, wanted) or changed
    return files.serialize(model) if changed else quantized


def _biases(source: Any) -> dict[str, Floats]:
    """The float biases by the name of their op's output."""
    graph, found = source.subgraphs[0], {}
    for op in graph.operators:
        bias = _bias_of(source, graph, op)
        if bias is not None and files.type_name(bias) == "float32":
            values = np.frombuffer(files.data_of(source, bias), np.float32).astype(np.float64)
            found[files.text(graph.tensors[op.outputs[0]].name)] = values
    return found


def _bias_of(model: Any, graph: Any, op: Any) -> Any | None:
    name = files.op_name(model, op)
    place = _BIAS_AT.get(name, 2)
    if name not in _HOLDERS or place >= len(op.inputs) or op.inputs[place] < 0:
        return None
    tensor = graph.tensors[op.inputs[place]]
    return tensor if files.data_of(model, tensor) else None


def _make_room(model: Any, graph: Any, op: Any, wanted: dict[str, Floats]) -> bool:
    bias = _bias_of(model, graph, op)
    values = wanted.get(files.text(graph.tensors[op.outputs[0]].name))
    if bias is None or values is None or files.type_name(bias) not in ("int32", "int64"):
        return False
    weights, given = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2 if _is_transposed(model, op) else 0]]
    readers = sum(int(op.inputs[1]) in [int(index) for index in other.inputs] for other in graph.operators)
    if files.type_name(weights) not in _INTEGERS or readers != 1 or given.quantization is None:
        return False
    step = float(given.quantization.scale[0])
    scales = np.asarray(weights.quantization.scale, np.float64)
    least = np.abs(values) / step / _MOST
    if len(scales) == 1:
        least = np.atleast_1d(least.max())
    roomy = np.maximum(scales, least).astype(np.float32)
    if len(scales) not in (1, len(values)) or not np.any(roomy > scales.astype(np.float32)):
        return False
    _rescale(model, weights, scales, roomy)
    steps = roomy.astype(np.float64) * step
    kind = np.int32 if files.type_name(bias) == "int32" else np.int64
    bias.buffer = _stored(model, np.rint(values / steps).astype(kind).tobytes())
    bias.quantization.scale = steps.astype(np.float32)
    return True


def _is_transposed(model: Any, op: Any) -> bool:
    return files.op_name(model, op) == "TRANSPOSE_CONV"  # which takes its shape first


def _rescale(model: Any, weights: Any, before: Floats, after: NDArray[np.float32]) -> None:
    """Store the same weights in other steps."""
    shape, bits = [int(size) for size in weights.shape], _INTEGERS[files.type_name(weights)]
    ratio = np.ones([1] * len(shape))
    axis = int(weights.quantization.quantizedDimension) if len(before) > 1 else 0
    ratio = (before / after).reshape([-1 if number == axis else 1 for number in range(len(shape))])
    integers = np.rint(_integers(files.data_of(model, weights), shape, bits) * ratio).astype(np.int8)
    weights.buffer = _stored(model, _bytes_of(integers, bits))
    weights.quantization.scale = after


def _integers(data: bytes, shape: list[int], bits: int) -> NDArray[np.int8]:
    held = np.frombuffer(data, np.int8)
    if bits == 4:  # two in a byte, the first one in its lower half
        held = np.stack([held << 4 >> 4, held >> 4], axis=1).ravel()[: int(np.prod(shape))]
    return held.reshape(shape)


def _bytes_of(integers: NDArray[np.int8], bits: int) -> bytes:
    if bits == 8:
        return integers.tobytes()
    flat = np.resize(integers.ravel(), integers.size + integers.size % 2)
    return ((flat[0::2] & 15) | (flat[1::2] << 4)).astype(np.int8).tobytes()


def _stored(model: Any, data: bytes) -> int:
    """The number of a new buffer, for others may read the old one."""
    buffer = copy.copy(model.buffers[0])  # the empty one
    buffer.data = np.frombuffer(data, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1
