"""What makes a model's outputs: the op that the values come from, behind those that only store or arrange them."""

from collections.abc import Iterable
from math import prod
from typing import Literal

import msgspec

from maas_converter.tflite.contents import Contents, GraphFacts, OpFacts, contents_of

Kind = Literal["softmax", "softmaxes", "log_softmax", "sigmoid", "linear", "input", "unknown"]
"""*softmax*: one distribution over all values. *softmaxes*: several, side by side. *linear*: a layer without an
activation. *input*: nothing but the model's own input, arranged in another way."""

_ARRANGES = {
    "QUANTIZE",
    "DEQUANTIZE",
    "CAST",
    "RESHAPE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "TRANSPOSE",
    "SPLIT",
    "SPLIT_V",
    "UNPACK",
    "SLICE",
    "STRIDED_SLICE",
    "GATHER",
}
_PARTS = {"SPLIT", "SPLIT_V", "UNPACK", "SLICE", "STRIDED_SLICE", "GATHER"}
"""Of these, those that may leave values out."""
_JOINS = {"CONCATENATION", "PACK"}
_LINEAR = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL"}
_SHIFTS = {"ADD", "SUB", "MUL", "DIV"}
_DATA_INPUT = {"SPLIT": 1}
"""Where what is arranged is not the first input."""


class OutputHead(msgspec.Struct, frozen=True):
    """What makes one output; ``index`` is the input's number where that is its kind, and ``op`` the op's name."""

    kind: Kind
    op: str = ""
    index: int = 0


def heads_of(tflite: bytes) -> tuple[OutputHead, ...]:
    """The head of each output, in the order of the graph; raises `DataError` if ``tflite`` is no model."""
    contents = contents_of(tflite)
    return heads_in(contents)


def heads_in(contents: Contents) -> tuple[OutputHead, ...]:
    """What makes each output of a model that was read already."""
    walk = _Walk(contents.graphs[0])
    return tuple(walk.head(index) for index in contents.graphs[0].outputs)


_DEEPEST = 64
"""Ops on the way back that are looked at one inside the other: layers of shifts and joins."""


class _Walk:
    """Goes from a tensor back to what made it; what a damaged file makes endless ends as unknown."""

    def __init__(self, graph: GraphFacts) -> None:
        self._graph = graph
        self._made = {output: op for op in graph.ops for output in op.outputs}
        self._known: dict[int, OutputHead] = {}
        self._depth = 0

    def head(self, tensor: int) -> OutputHead:
        """What makes ``tensor``."""
        way = [tensor]
        while len(way) <= len(self._graph.ops) and (step := self._before(way[-1])) is not None:
            way.append(step)
        head = self._origin(way[-1])
        if any(self._leaves_out(step) for step in way[:-1]) and head.kind not in ("sigmoid", "linear"):
            return OutputHead("unknown", head.op)
        return head

    def _before(self, tensor: int) -> int | None:
        op = self._made.get(tensor)
        if op is None or op.name not in _ARRANGES:
            return None
        position = _DATA_INPUT.get(op.name, 0)
        return op.inputs[position] if position < len(op.inputs) and op.inputs[position] >= 0 else None

    def _leaves_out(self, tensor: int) -> bool:
        op = self._made[tensor]
        return op.name in _PARTS and self._size(tensor) != self._size(self._before(tensor) or 0)

    def _origin(self, tensor: int) -> OutputHead:
        op = self._made.get(tensor)
        if op is None:
            inputs = self._graph.inputs
            return OutputHead("input", index=inputs.index(tensor)) if tensor in inputs else OutputHead("unknown")
        if tensor not in self._known:
            self._known[tensor] = OutputHead("unknown", op.name)  # as long as it is being looked at: a loop ends here
            self._depth += 1
            if self._depth <= _DEEPEST:
                self._known[tensor] = OutputHead(self._kind(op, tensor), op.name)
            self._depth -= 1
        return self._known[tensor]

    def _kind(self, op: OpFacts, tensor: int) -> Kind:
        if op.name == "SOFTMAX":
            shape = self._graph.tensors[tensor].shape
            return "softmax" if shape and abs(shape[-1]) == self._size(tensor) else "softmaxes"
        if op.name == "LOG_SOFTMAX":
            return "log_softmax"
        if op.name == "LOGISTIC":
            return "sigmoid"
        if op.name in ("LOG", "EXP") and op.inputs:
            return _unlogged(op.name, self.head(op.inputs[0]).kind)
        if op.name in _JOINS:
            return _joined(self.head(index).kind for index in op.inputs if index >= 0)
        if op.name in _LINEAR and not op.activated:
            return "linear"
        if op.name in _SHIFTS and not op.activated:
            moving = [index for index in op.inputs if not self._constant(index)]
            return "linear" if len(moving) == 1 and self.head(moving[0]).kind == "linear" else "unknown"
        return "unknown"

    def _constant(self, tensor: int) -> bool:
        return tensor not in self._made and tensor not in self._graph.inputs

    def _size(self, tensor: int) -> int:
        return abs(prod(self._graph.tensors[tensor].shape))


def _unlogged(op: str, below: Kind) -> Kind:
    if op == "LOG":
        return "log_softmax" if below == "softmax" else "unknown"
    return "softmax" if below == "log_softmax" else "unknown"


def _joined(kinds: Iterable[Kind]) -> Kind:
    found = list(kinds)
    if not found:
        return "unknown"
    if len(found) == 1:
        return found[0]
    if set(found) <= {"softmax", "softmaxes"}:
        return "softmaxes"
    return found[0] if found[0] in ("sigmoid", "linear") and len(set(found)) == 1 else "unknown"
