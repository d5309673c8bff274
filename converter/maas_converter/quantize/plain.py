"""A model as quantizers expect it: weights as float32 constants, and nothing quantized on the way.

(1) Weights that are stored smaller (float16 or integers behind DEQUANTIZE, sparse behind DENSIFY, integers that a
    hybrid op reads) become the float32 numbers that they stand for.
(2) Quantization-aware training leaves QUANTIZE and DEQUANTIZE pairs in a model that computes in floats. They go, and
    the ranges and steps that were trained are kept: a quantizer is to use these.
(3) NEG and SQUARE become products (`maas_converter.tflite.products`).
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.quantize import quantizer
from maas_converter.quantize.rewriting import constants
from maas_converter.quantize.rewriting.biases import Steps
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import GraphFacts, OpFacts, TensorFacts, contents_of
from maas_converter.tflite.extract import extract
from maas_converter.tflite.products import with_products

_STORES = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")
_BITS = {"int8": 8, "uint8": 8, "int16": 16}
_HYBRID = (
    "FULLY_CONNECTED",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "BATCH_MATMUL",
    "EMBEDDING_LOOKUP",
    "GATHER",
)


class PlainModel(msgspec.Struct, frozen=True):
    """The model, and what it was trained to be quantized with."""

    tflite: bytes
    ranges: quantizer.Ranges = {}
    """By tensor name, of activations."""
    steps: Steps = {}
    """By tensor name, of weights: one for all, or one for each unit."""

    @property
    def trained(self) -> bool:
        """Whether the model comes from quantization-aware training."""
        return bool(self.ranges)


class _Changes:
    """What is to be done to the first graph, by tensor number."""

    def __init__(self) -> None:
        self.constants: dict[int, NDArray[np.float32]] = {}
        self.instead: dict[int, int] = {}
        self.ranges: quantizer.Ranges = {}
        self.steps: Steps = {}


def plain(data: bytes) -> PlainModel:
    """Read a float ``.tflite``, or a hybrid one; the same bytes if there is nothing to do.

    Raises `DataError` if it is none, or if its weights are stored in a form that is not undone here.
    """
    data = with_products(data)
    contents = contents_of(data)
    graph = contents.graphs[0]
    constant = _constant(graph)
    stored = [op for op in graph.ops if op.name in _STORES]
    hybrid = [(op, index) for op in graph.ops if op.name in _HYBRID for index in _integer_weights(graph, op)]
    if not stored and not hybrid:
        return PlainModel(data)
    model, changes = files.parse(data), _Changes()
    _fold(model, graph, constant, changes)
    for _, index in hybrid:
        tensor = model.subgraphs[0].tensors[index]
        changes.constants[index] = constants.real(constants.held_by(model, tensor), tensor)
    for op in stored:
        if op.name == "DEQUANTIZE" and op.outputs[0] not in constant:
            _pass(model, graph, op, changes)
    return _made(model, graph, changes)


def _constant(graph: GraphFacts) -> set[int]:
    """Tensors that hold the same in every run: constants, and what is only stored differently."""
    found = {tensor.index for tensor in graph.tensors if tensor.constant_bytes}
    for op in graph.ops:
        if op.name in _STORES and op.inputs[0] in found:
            found |= set(op.outputs)
    return found


def _integer_weights(graph: GraphFacts, op: OpFacts) -> list[int]:
    """Constants of integers that an op of float answers reads as its weights."""
    if not graph.tensors[op.outputs[0]].dtype.startswith("float"):
        return []
    given = (graph.tensors[index] for index in op.inputs if index >= 0)
    return [tensor.index for tensor in given if tensor.constant_bytes and tensor.quantized and "int" in tensor.dtype]


def _fold(model: Any, graph: GraphFacts, constant: set[int], changes: _Changes) -> None:
    """Float results of ops on constants."""
    makers = {made: op for op in graph.ops if op.name in _STORES for made in op.outputs}
    for index in sorted(constant & makers.keys()):
        if graph.tensors[index].dtype != "float32":
            continue
        changes.constants[index] = constants.value_of(model, makers, graph, index)
        stored = model.subgraphs[0].tensors[makers[index].inputs[0]]
        step = constants.step_of(stored)
        if files.type_name(stored) in _BITS and step is not None:
            changes.steps[graph.tensors[index].name] = step


def _pass(model: Any, graph: GraphFacts, op: OpFacts, changes: _Changes) -> None:
    """Lead the readers of a QUANTIZE and DEQUANTIZE pair to what was quantized."""
    maker = next((other for other in graph.ops if op.inputs[0] in other.outputs), None)
    if maker is None or maker.name != "QUANTIZE" or not _is_float(graph.tensors[maker.inputs[0]]):
        return
    source = maker.inputs[0]
    source = changes.instead.get(source, source)
    changes.instead[op.outputs[0]] = source
    between = model.subgraphs[0].tensors[op.inputs[0]]
    kind, step = files.type_name(between), constants.step_of(between)
    if kind in _BITS and step is not None and step.size == 1:
        lowest = -(2 ** (_BITS[kind] - 1)) if kind != "uint8" else 0
        zero = int(between.quantization.zeroPoint[0])
        low, high = ((end - zero) * float(step[0]) for end in (lowest, lowest + 2 ** _BITS[kind] - 1))
        changes.ranges.setdefault(graph.tensors[source].name, quantizer.Range(low, high))


def _made(model: Any, graph: GraphFacts, changes: _Changes) -> PlainModel:
    main = model.subgraphs[0]
    for index, values in changes.constants.items():
        tensor = main.tensors[index]
        tensor.type, tensor.quantization, tensor.sparsity = files.type_code("float32"), None, None
        tensor.shape, tensor.shapeSignature = list(values.shape), None
        files.store(model, tensor, values.tobytes())
    ranges = dict(changes.ranges)
    outputs = []
    for index in graph.outputs:
        source = changes.instead.get(index, index)
        outputs.append(source)
        if source != index and source not in graph.inputs and source not in graph.outputs:
            # The model's answers keep their names.
            before, after = graph.tensors[source].name, graph.tensors[index].name
            main.tensors[source].name, main.tensors[index].name = after.encode(), f"{after}/as-stored".encode()
            if before in ranges:
                ranges[after] = ranges.pop(before)
    for op in main.operators:
        op.inputs = [changes.instead.get(int(index), int(index)) for index in op.inputs]
    ops = _needed(main, outputs, set(changes.constants))
    part = extract(model, ops, graph.inputs, outputs)
    _sign_as(model, graph, part)
    return PlainModel(files.serialize(part), ranges, changes.steps)


def _needed(main: Any, outputs: list[int], known: set[int]) -> list[int]:
    """Numbers of the ops that ``outputs`` rest on, in order."""
    wanted, found = set(outputs), []
    for number in reversed(range(len(main.operators))):
        op = main.operators[number]
        made = {int(index) for index in op.outputs} - known
        if made & wanted:
            found.append(number)
            wanted |= {int(index) for index in op.inputs}
    return found[::-1]


def _sign_as(model: Any, graph: GraphFacts, part: Any) -> None:
    """Give ``part`` the signature of ``model``, under its own tensors' numbers."""
    signatures = model.signatureDefs
    if not signatures or len(signatures) != 1:
        return
    after = part.subgraphs[0]
    numbers = dict(zip(graph.inputs, map(int, after.inputs), strict=True))
    numbers |= dict(zip(graph.outputs, map(int, after.outputs), strict=True))
    for entry in (*signatures[0].inputs, *signatures[0].outputs):
        if int(entry.tensorIndex) not in numbers:
            return
    for entry in (*signatures[0].inputs, *signatures[0].outputs):
        entry.tensorIndex = numbers[int(entry.tensorIndex)]
    part.signatureDefs = signatures


def _is_float(tensor: TensorFacts) -> bool:
    return tensor.dtype.startswith("float")
