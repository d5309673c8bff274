"""What flows through a model: which op makes each tensor of its first graph, which ops need it.

Ops that compute with constants alone (the float32 copies of float16 weights, say) count as constants: they go wherever
their result is needed, so that an interpreter still sees the weights as such.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from maas_converter.tflite import model as files

_ITEM_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "bool": 1}
"""The types of tensors that a device passes from one model to the next, see `maas_agent.bundle.manifest.DType`."""

_SHARED_STATE = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE")
_UNSTEADY = (*_SHARED_STATE, "RANDOM", "MULTINOMIAL", "STABLEHLO_RNG")
"""Beginnings of the names of ops that answer differently each time, and of those that do so through each other."""


class Flow:
    """The first graph of a parsed model. Ops and tensors go by their numbers in the file."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph = model.subgraphs[0]
        self.inputs = indexes(self.graph.inputs)
        self.outputs = tuple(dict.fromkeys(indexes(self.graph.outputs)))
        self._ops = tuple(self.graph.operators or ())
        self._read = [frozenset(indexes(op.inputs)) for op in self._ops]
        self._written = [frozenset(indexes(op.outputs)) for op in self._ops]
        self._states = [self._states_of(number) for number in range(len(self._ops))]
        self._maker = {tensor: number for number, made in enumerate(self._written) for tensor in made}
        self._constant_ops = self._find_constant_ops()
        self.ops = tuple(number for number in range(len(self._ops)) if number not in self._constant_ops)
        """Those that have to run for each sample, in order."""
        self.flowing = set(self.inputs) | self.made_in(self.ops)
        """Tensors that differ from sample to sample."""

    def op_name(self, number: int) -> str:
        """The name of an op such as ``CONV_2D``."""
        return files.op_name(self.model, self._ops[number])

    def first_output(self, number: int) -> int:
        """The tensor an op makes first; one without any is called by what it reads."""
        op = self._ops[number]
        return (*indexes(op.outputs), *indexes(op.inputs))[0]

    def needed_by(self, ops: Iterable[int]) -> set[int]:
        """The flowing tensors that any of ``ops`` reads."""
        return self.flowing.intersection(set().union(*(self._read[number] for number in ops)))

    def made_in(self, ops: Iterable[int]) -> set[int]:
        """The tensors that ``ops`` write."""
        return set().union(*(self._written[number] for number in ops))

    def states_of(self, ops: Iterable[int]) -> set[int]:
        """Tensors that ``ops`` keep from one run to the next; -1 stands for state that has no tensor."""
        return set().union(*(self._states[number] for number in ops))

    def resting_on(self, ops: Iterable[int], tensors: Iterable[int]) -> list[int]:
        """``ops``, and the constant ops that they and ``tensors`` rest on, in order."""
        found, waiting = set(ops), {tensor for number in ops for tensor in self._read[number]} | set(tensors)
        while waiting:
            maker = self._maker.get(waiting.pop(), -1)
            if maker in self._constant_ops and maker not in found:
                found.add(maker)
                waiting |= self._read[maker]
        return sorted(found)

    def _find_constant_ops(self) -> frozenset[int]:
        varying = set(self.inputs) | {n for n, tensor in enumerate(self.graph.tensors) if tensor.isVariable}
        constant = set()
        for number, op in enumerate(self._ops):
            steady = not files.is_custom(self.model, op) and not self._has_op(op, _UNSTEADY, set())
            if steady and not varying & self._read[number]:
                constant.add(number)
            else:
                varying |= self._written[number]
        return frozenset(constant)

    def _states_of(self, number: int) -> frozenset[int]:
        kept = {tensor for tensor in self._read[number] if self.graph.tensors[tensor].isVariable}
        shared = self._has_op(self._ops[number], _SHARED_STATE, set())
        return frozenset(kept | {-1} if shared else kept)

    def _has_op(self, op: Any, beginnings: tuple[str, ...], seen: set[int]) -> bool:
        """Whether ``op``, or one in a graph it calls, has a name that begins so."""
        if files.op_name(self.model, op).startswith(beginnings):
            return True
        called = called_graphs(op) - seen
        seen |= called
        return any(
            self._has_op(inner, beginnings, seen)
            for number in called
            for inner in self.model.subgraphs[number].operators or ()
        )


def wire_bytes(tensor: Any) -> int:
    """Size of a tensor as bytes."""
    return prod(shape_of(tensor)) * _ITEM_BYTES[files.type_name(tensor)]


def obstacle_to_pass(tensor: Any) -> str:
    """Why a device cannot pass a tensor from one model to the next; empty if it can."""
    name, dtype, shape = files.text(tensor.name), files.type_name(tensor), shape_of(tensor)
    if dtype not in _ITEM_BYTES:
        return f"tensor {name!r} is {dtype}"
    if -1 in indexes_and_gaps(tensor.shapeSignature) or 0 in shape:
        return f"tensor {name!r} has no fixed size"
    return ""


def shape_of(tensor: Any) -> tuple[int, ...]:
    """The shape as it is allocated."""
    return indexes_and_gaps(tensor.shape)


def called_graphs(op: Any) -> set[int]:
    """Numbers of the graphs that a loop, a branch or a call runs."""
    return {number for options in (op.builtinOptions, op.builtinOptions2) for number in _graphs_in(options)}


def _graphs_in(options: Any) -> list[int]:
    """The schema has a dozen kinds of options that name graphs, all by fields of these names."""
    found = [np.atleast_1d(value) for name, value in vars(options or object).items() if names_graphs(name, value)]
    return [int(number) for numbers in found for number in numbers if number >= 0]


def names_graphs(field: str, value: Any) -> bool:
    """Whether a field of an op's options names a graph, or several."""
    known = field == "calledComputations" or "subgraph" in field.lower()
    return known and value is not None


def indexes(values: Any) -> tuple[int, ...]:
    """Tensor numbers, without the gaps of optional inputs that were left out."""
    return tuple(value for value in indexes_and_gaps(values) if value >= 0)


def indexes_and_gaps(values: Any) -> tuple[int, ...]:
    """Numbers of a vector that may be missing."""
    return tuple(int(value) for value in values) if values is not None else ()
