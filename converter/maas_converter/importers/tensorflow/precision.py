"""Graphs that compute in float16, bfloat16 or float64, made to compute in float32: TFLite has kernels for that only.

An answer differs from the source's by what rounding to the coarser of the two types did.
"""

from collections.abc import Iterator
from typing import Any

_FLOAT32 = 1
_OTHERS = {19: "float16", 14: "bfloat16", 2: "float64"}
"""``DataType`` of TensorFlow (types.proto)."""


def other_precisions(graph: Any) -> list[str]:
    """The names of the floating types but float32 that ``graph`` computes in."""
    return sorted({_OTHERS[kind] for attribute in _attributes(graph) for kind in _types(attribute) if kind in _OTHERS})


def coarsest_precision(graph: Any) -> str:
    """The floating type with the fewest digits that ``graph`` computes in."""
    found = other_precisions(graph)
    return next((name for name in ("bfloat16", "float16") if name in found), "float32")


def in_float32(tensorflow: Any, graph: Any) -> None:
    """Let every op and constant of ``graph`` that is of another floating type be float32."""
    for attribute in _attributes(graph):
        if attribute.type in _OTHERS:
            attribute.type = _FLOAT32
        for index, kind in enumerate(attribute.list.type):
            attribute.list.type[index] = _FLOAT32 if kind in _OTHERS else kind
        if attribute.HasField("tensor") and attribute.tensor.dtype in _OTHERS:
            values = tensorflow.make_ndarray(attribute.tensor).astype("float32")
            attribute.tensor.CopyFrom(tensorflow.make_tensor_proto(values))
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = _FLOAT32 if argument.type in _OTHERS else argument.type


def _attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from node.attr.values()
    for function in graph.library.function:
        for node in function.node_def:
            yield from node.attr.values()


def _types(attribute: Any) -> Iterator[int]:
    yield attribute.type
    yield from attribute.list.type
    yield attribute.tensor.dtype
