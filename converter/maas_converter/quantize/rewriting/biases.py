"""Weight scales that leave room for biases, and those that were trained.

A bias is stored as a 32-bit number of steps of input scale x weight scale. Where a unit has weights of (nearly) 0 and a
bias, as one that always answers 1.0, the steps are so small that the number does not fit: litert-quantizer cuts it, and
what was 1.0 answers 0. A larger weight scale for that unit costs nothing that was there. Weights of quantization-aware
training lie on a grid of their own: its steps are used, for others would round them again.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.tflite import model as files

_MOST = 1 << 29
"""Steps that a bias may have: the products that are added to it have to fit beside it."""

_HOLDERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_BIAS_AT = {"TRANSPOSE_CONV": 3}
_INTEGERS = {"int8": 8, "int4": 4}
_ON_GRID = 1e-3

Floats = NDArray[np.float64]
Steps = dict[str, Floats]
"""By the name of a weight tensor: one step for all, or one for each unit."""


class _Held(msgspec.Struct, frozen=True):
    """What an op of the float model holds."""

    weights: Floats
    bias: Floats | None
    steps: Floats | None
    """Those that were trained."""


def with_room(float32: bytes, quantized: bytes, steps: Steps) -> bytes:
    """``quantized``, made of ``float32``, with each cut bias whole and in trained ``steps``; the same bytes if so."""
    held, model = _held(files.parse(float32), steps), files.parse(quantized)
    graph = model.subgraphs[0]
    found = [(op, held.get(files.text(graph.tensors[op.outputs[0]].name))) for op in graph.operators if len(op.outputs)]
    changed = [_rescaled(model, graph, op, before) for op, before in found if before is not None]
    return files.serialize(model) if any(changed) else quantized


def _held(source: Any, steps: Steps) -> dict[str, _Held]:
    """What is held of each op, by the name of its output."""
    graph, found = source.subgraphs[0], {}
    for op in graph.operators:
        if files.op_name(source, op) not in _HOLDERS:
            continue
        weights, bias = graph.tensors[op.inputs[1]], _bias_of(source, graph, op)
        values = _floats(source, weights)
        if values is not None:
            trained = steps.get(files.text(weights.name))
            offsets = _floats(source, bias) if bias is not None else None
            found[files.text(graph.tensors[op.outputs[0]].name)] = _Held(
                values, offsets.ravel() if offsets is not None else None, trained
            )
    return found


def _floats(model: Any, tensor: Any) -> Floats | None:
    data = files.data_of(model, tensor)
    if not data or files.type_name(tensor) != "float32":
        return None
    return np.frombuffer(data, np.float32).reshape([int(size) for size in tensor.shape]).astype(np.float64)


def _bias_of(model: Any, graph: Any, op: Any) -> Any | None:
    name = files.op_name(model, op)
    place = _BIAS_AT.get(name, 2)
    if name not in _HOLDERS or place >= len(op.inputs) or op.inputs[place] < 0:
        return None
    tensor = graph.tensors[op.inputs[place]]
    return tensor if files.data_of(model, tensor) else None


def _rescaled(model: Any, graph: Any, op: Any, held: _Held) -> bool:
    """Whether the op's weights, and its bias, are now stored in other steps."""
    weights, given = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2 if _is_transposed(model, op) else 0]]
    readers = sum(int(op.inputs[1]) in [int(index) for index in other.inputs] for other in graph.operators)
    if files.type_name(weights) not in _INTEGERS or readers != 1 or not _has_scale(given) or not _has_scale(weights):
        return False
    scales = np.asarray(weights.quantization.scale, np.float64)
    axis = int(weights.quantization.quantizedDimension) if len(scales) > 1 else None
    bits, bias, step = (
        _INTEGERS[files.type_name(weights)],
        _bias_of(model, graph, op),
        float(given.quantization.scale[0]),
    )
    wanted = _trained(held, scales, axis, bits)
    if bias is not None and held.bias is not None and len(scales) in (1, len(held.bias)):
        least = np.abs(held.bias) / step / _MOST
        wanted = np.maximum(wanted, least if len(scales) > 1 else least.max())
    after = wanted.astype(np.float32)
    if np.array_equal(after, scales.astype(np.float32)):
        return False
    _store_weights(model, weights, held.weights / _along(after.astype(np.float64), axis, held.weights.ndim), bits)
    weights.quantization.scale = after
    if bias is not None and held.bias is not None:
        _store_bias(model, bias, held.bias, after.astype(np.float64) * step)
    return True


def _trained(held: _Held, scales: Floats, axis: int | None, bits: int) -> Floats:
    """The steps that were trained, where there are any and all weights lie on that grid; else ``scales``."""
    if held.steps is None or len(held.steps) not in (1, len(scales)):
        return scales
    steps = np.broadcast_to(held.steps, scales.shape).astype(np.float64)
    grid = held.weights / _along(steps, axis, held.weights.ndim)
    fits = np.abs(grid).max() <= 2 ** (bits - 1) - 1 + _ON_GRID and np.abs(grid - np.rint(grid)).max() <= _ON_GRID
    return steps if fits else scales


def _along(scales: Floats, axis: int | None, rank: int) -> Floats:
    return scales.reshape([-1 if number == axis else 1 for number in range(rank)])


def _has_scale(tensor: Any) -> bool:
    return (
        tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale) > 0
    )


def _is_transposed(model: Any, op: Any) -> bool:
    return files.op_name(model, op) == "TRANSPOSE_CONV"  # which takes its shape first


def _store_weights(model: Any, weights: Any, steps: Floats, bits: int) -> None:
    most = 2 ** (bits - 1) - 1
    integers = np.clip(np.rint(steps), -most, most).astype(np.int8).ravel()
    if bits == 4:  # two in a byte, the first one in its lower half
        integers = np.resize(integers, integers.size + integers.size % 2)
        integers = (integers[0::2] & 15) | (integers[1::2] << 4)
    files.store(model, weights, integers.tobytes())


def _store_bias(model: Any, bias: Any, values: Floats, steps: Floats) -> None:
    kind = np.int32 if files.type_name(bias) == "int32" else np.int64
    files.store(model, bias, np.rint(values / steps).astype(kind).tobytes())
    bias.quantization.scale = steps.astype(np.float32)
