"""Small graphs of named tensors as ``.tflite`` files, for tests of what is done to graphs: mostly (1, 4) float32."""

from typing import Any

import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from maas_converter.tflite import model as files

SHAPE = (1, 4)

_OPTIONS = {
    "ADD": schema.AddOptionsT,
    "MUL": schema.MulOptionsT,
    "LESS": schema.LessOptionsT,
    "LESS_EQUAL": schema.LessEqualOptionsT,
    "GREATER": schema.GreaterOptionsT,
    "GREATER_EQUAL": schema.GreaterEqualOptionsT,
    "SELECT_V2": schema.SelectV2OptionsT,
    "ARG_MAX": schema.ArgMaxOptionsT,
    "ONE_HOT": schema.OneHotOptionsT,
    "TOPK_V2": schema.TopKV2OptionsT,
    "LOG_SOFTMAX": schema.LogSoftmaxOptionsT,
    "NEG": schema.NegOptionsT,
    "SQUARE": schema.SquareOptionsT,
    "RANDOM_UNIFORM": schema.RandomOptionsT,
    "SUB": schema.SubOptionsT,
    "DIV": schema.DivOptionsT,
    "CAST": schema.CastOptionsT,
    "GATHER": schema.GatherOptionsT,
    "CONCATENATION": schema.ConcatenationOptionsT,
    "CONV_2D": schema.Conv2DOptionsT,
    "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
    "LEAKY_RELU": schema.LeakyReluOptionsT,
    "PACK": schema.PackOptionsT,
    "REDUCE_MAX": schema.ReducerOptionsT,
    "REDUCE_PROD": schema.ReducerOptionsT,
    "MEAN": schema.ReducerOptionsT,
    "DEPTH_TO_SPACE": schema.DepthToSpaceOptionsT,
    "SPLIT_V": schema.SplitVOptionsT,
    "RESHAPE": schema.ReshapeOptionsT,
    "SQUEEZE": schema.SqueezeOptionsT,
    "L2_NORMALIZATION": schema.L2NormOptionsT,
    "TILE": schema.TileOptionsT,
    "EXP": schema.ExpOptionsT,
    "ABS": schema.AbsOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
    "EXPAND_DIMS": schema.ExpandDimsOptionsT,
    "REVERSE_V2": schema.ReverseV2OptionsT,
    "SPACE_TO_BATCH_ND": schema.SpaceToBatchNDOptionsT,
    "BATCH_TO_SPACE_ND": schema.BatchToSpaceNDOptionsT,
}


class Op(msgspec.Struct, frozen=True):
    """One op: its kind, the tensors it reads and those it makes. ``graphs`` are condition and body of a WHILE."""

    kind: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    graphs: tuple[int, int] | None = None
    options: dict[str, Any] = {}


class Body(msgspec.Struct, frozen=True):
    """One graph: its ops, inputs and outputs, and what is known of its tensors beyond (1, 4) float32."""

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: dict[str, NDArray[np.generic]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    variables: tuple[str, ...] = ()


def tflite(*bodies: Body) -> bytes:
    """The first body is the model, the others are what its loops run."""
    model = schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [schema.BufferT()]
    model.subgraphs = [_subgraph(model, body) for body in bodies]
    return files.serialize(model)


def chain(*kinds: str) -> bytes:
    """Ops one after the other, from ``x`` over ``t0``, ``t1`` … to the last."""
    names = ["x", *(f"t{number}" for number in range(len(kinds)))]
    ops = tuple(Op(kind, (names[number],), (names[number + 1],)) for number, kind in enumerate(kinds))
    return tflite(Body(ops, ("x",), (names[-1],)))


def _subgraph(model: Any, body: Body) -> Any:
    names = list(
        dict.fromkeys([*body.inputs, *(name for op in body.ops for name in (*op.reads, *op.makes)), *body.outputs])
    )
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(model, body, name) for name in names]
    graph.inputs = [names.index(name) for name in body.inputs]
    graph.outputs = [names.index(name) for name in body.outputs]
    graph.operators = [_operator(model, op, names) for op in body.ops]
    return graph


def _tensor(model: Any, body: Body, name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.buffer, tensor.isVariable = name.encode(), 0, name in body.variables
    values = body.constants.get(name)
    tensor.shape = list(body.shapes.get(name, SHAPE) if values is None else values.shape)
    kind = body.types.get(name, "float32") if values is None else values.dtype.name
    tensor.type = getattr(schema.TensorType, kind.upper())
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    return tensor


def _operator(model: Any, op: Op, names: list[str]) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, op.kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes)
    operator.inputs = [names.index(name) for name in op.reads]
    operator.outputs = [names.index(name) for name in op.makes]
    if op.kind in _OPTIONS:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[op.kind].__name__.removesuffix("T"))
        operator.builtinOptions = _OPTIONS[op.kind]()
        for name, value in op.options.items():
            setattr(operator.builtinOptions, name, value)
    if op.graphs is not None:
        operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
        operator.builtinOptions = schema.WhileOptionsT()
        operator.builtinOptions.condSubgraphIndex, operator.builtinOptions.bodySubgraphIndex = op.graphs
    model.operatorCodes.append(code)
    return operator
