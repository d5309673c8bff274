"""Some ops of a model as a model of their own: their tensors, weights and subgraphs, and nothing else."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from maas_converter.tflite import model as files
from maas_converter.tflite.flow import called_graphs, indexes_and_gaps, names_graphs
from maas_converter.tflite.signature import sign

_KEPT_METADATA = ("min_runtime_version", "reduced_precision_support")
"""What holds for each part; other entries describe the whole."""


class _Kept:
    """Items of one list that are taken over, in order of their first use, and their new numbers."""

    def __init__(self, items: Sequence[Any], first: Iterable[Any] = ()) -> None:
        self._items = items
        self._numbers: dict[int, int] = {}
        self.taken = list(first)

    def number(self, old: int) -> int:
        """The new number of item ``old``; a gap (-1) stays one."""
        if old < 0:
            return old
        if old not in self._numbers:
            self._numbers[old] = len(self.taken)
            self.taken.append(copy.copy(self._items[old]))
        return self._numbers[old]

    def numbers(self, old: Any) -> list[int] | None:
        """The new numbers of a vector of old ones, which may be missing."""
        return None if old is None else [self.number(value) for value in indexes_and_gaps(old)]


def extract(model: Any, ops: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    """A ``ModelT`` of ``ops`` of the first graph of ``model``, from tensors ``inputs`` to tensors ``outputs``.

    It shares what it does not change with ``model``, and has one SignatureDef. The same call gives the same object.
    """
    from ai_edge_litert import schema_py_generated as schema

    part = copy.copy(model)
    called = _closure(model, [model.subgraphs[0].operators[number] for number in ops])
    graphs = {old: new for new, old in enumerate(called, start=1)}
    codes = _Kept(model.operatorCodes)
    # schema.fbs, Model.buffers: the first one is empty, and stands for "no data".
    buffers = _Kept(model.buffers, first=[schema.BufferT()])
    main = copy.copy(model.subgraphs[0])
    main.operators = [main.operators[number] for number in ops]
    main.inputs, main.outputs = list(inputs), list(outputs)
    part.subgraphs = [
        _graph(model, graph, codes, buffers, graphs) for graph in (main, *map(model.subgraphs.__getitem__, called))
    ]
    part.metadata = [
        _entry(entry, buffers) for entry in model.metadata or () if files.text(entry.name) in _KEPT_METADATA
    ]
    part.metadataBuffer = None  # deprecated form of the same
    part.operatorCodes, part.buffers = codes.taken, buffers.taken
    sign(part)
    return part


def _closure(model: Any, ops: Iterable[Any]) -> list[int]:
    """Numbers of all graphs that ``ops`` call, and that those call in turn."""
    found: set[int] = set()
    waiting = list(ops)
    while waiting:
        fresh = called_graphs(waiting.pop()) - found
        found |= fresh
        waiting += [op for number in fresh for op in model.subgraphs[number].operators or ()]
    return sorted(found)


def _graph(model: Any, graph: Any, codes: _Kept, buffers: _Kept, graphs: dict[int, int]) -> Any:
    taken = copy.copy(graph)
    tensors = _Kept(graph.tensors)
    taken.inputs, taken.outputs = tensors.numbers(graph.inputs), tensors.numbers(graph.outputs)
    taken.operators = [_op(op, tensors, codes, graphs) for op in graph.operators or ()]
    for tensor in tensors.taken:  # grows meanwhile: a blockwise quantized tensor has its scales in another one
        _move_tensor(model, tensor, tensors, buffers)
    taken.tensors = tensors.taken
    taken.debugMetadataIndex = -1
    return taken


def _op(op: Any, tensors: _Kept, codes: _Kept, graphs: dict[int, int]) -> Any:
    taken = copy.copy(op)
    taken.opcodeIndex = codes.number(int(op.opcodeIndex))
    taken.inputs, taken.outputs = tensors.numbers(op.inputs), tensors.numbers(op.outputs)
    taken.intermediates = tensors.numbers(op.intermediates)
    if called_graphs(op):
        taken.builtinOptions = _calling(op.builtinOptions, graphs)
        taken.builtinOptions2 = _calling(op.builtinOptions2, graphs)
    taken.debugMetadataIndex = -1
    return taken


def _calling(options: Any, graphs: dict[int, int]) -> Any:
    """Options with the graphs that they name under their new numbers."""
    taken = copy.copy(options)
    for field, value in vars(options).items() if options is not None else ():
        if names_graphs(field, value):
            moved = [graphs.get(int(number), int(number)) for number in np.atleast_1d(value)]
            setattr(taken, field, moved[0] if np.ndim(value) == 0 else moved)
    return taken


def _move_tensor(model: Any, tensor: Any, tensors: _Kept, buffers: _Kept) -> None:
    tensor.buffer = buffers.number(int(tensor.buffer)) if files.data_of(model, tensor) else 0
    details = tensor.quantization.details if tensor.quantization is not None else None
    if details is not None and hasattr(details, "scales"):
        tensor.quantization = copy.copy(tensor.quantization)
        tensor.quantization.details = moved = copy.copy(details)
        moved.scales, moved.zeroPoints = tensors.number(int(details.scales)), tensors.number(int(details.zeroPoints))


def _entry(entry: Any, buffers: _Kept) -> Any:
    taken = copy.copy(entry)
    taken.buffer = buffers.number(int(entry.buffer))
    return taken
