"""How much memory a model's activations need, computed from the file, not measured.

TFLite's arena planner (``tensorflow/lite/arena_planner.cc``) gives tensors that are never alive at the same time the
same memory: largest first, each at the lowest place that is free for its whole life, 64-byte aligned; inputs and
outputs live to the end. The same is done here. What a DEQUANTIZE makes of stored weights counts. Kernels' scratch
buffers are not in the file and do not, and XNNPACK plans its own memory: it is a figure to compare models by, and near
what an interpreter without XNNPACK allocates.
"""

from math import prod

import msgspec

from maas_converter.tflite.contents import Contents, GraphFacts, TensorFacts

_ALIGNMENT = 64
_BITS = {"float64": 64, "int64": 64, "uint64": 64, "complex64": 64, "complex128": 128}
_BITS |= {"float32": 32, "int32": 32, "uint32": 32, "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16}
_BITS |= {"int8": 8, "uint8": 8, "bool": 8, "int4": 4, "uint4": 4, "int2": 2}


class _Life(msgspec.Struct, frozen=True):
    """A tensor's first and last op, and its bytes."""

    first: int
    last: int
    size: int


def arena_bytes(contents: Contents) -> int:
    """Bytes of the activations' arena of all subgraphs; a size that is not fixed counts as 1."""
    return sum(_arena(graph) for graph in contents.graphs)


def _arena(graph: GraphFacts) -> int:
    placed: list[tuple[int, _Life]] = []
    for life in sorted(_lives(graph), key=lambda life: (-life.size, life.first)):
        placed.append((_place(life, placed), life))
    return max((offset + life.size for offset, life in placed), default=0)


def _place(life: _Life, placed: list[tuple[int, _Life]]) -> int:
    """The lowest offset free from the tensor's first op to its last."""
    offset = 0
    others = [(at, other.size) for at, other in placed if other.first <= life.last and life.first <= other.last]
    for at, size in sorted(others):
        if offset + life.size <= at:
            break
        offset = max(offset, -(-(at + size) // _ALIGNMENT) * _ALIGNMENT)
    return offset


def _lives(graph: GraphFacts) -> list[_Life]:
    end = len(graph.ops)
    born = dict.fromkeys(graph.inputs, 0)
    dies = dict.fromkeys((*graph.inputs, *graph.outputs), end)
    for op in graph.ops:
        for index in op.outputs:
            born.setdefault(index, op.index)
        for index in (*op.inputs, *op.outputs):
            dies[index] = max(dies.get(index, 0), op.index)
    return [
        _Life(first, dies[index], _size(graph.tensors[index]))
        for index, first in born.items()
        if index >= 0 and not graph.tensors[index].constant_bytes
    ]


def _size(tensor: TensorFacts) -> int:
    return -(-prod(max(size, 1) for size in tensor.shape) * _BITS.get(tensor.dtype, 32) // 8)
