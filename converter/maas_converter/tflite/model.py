"""``.tflite`` files as objects and back. The one place that touches the schema's generated code.

The format is the FlatBuffers schema of TensorFlow Lite (``tensorflow/compiler/mlir/lite/schema/schema.fbs``); LiteRT
ships the Python code generated from it. Objects are that code's own (``ModelT`` …), hence ``Any``. TensorFlow is not
needed.
"""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from maas_agent.errors import DataError

_IDENTIFIER = b"TFL3"
_LARGEST = 1 << 31  # FlatBuffers' own limit


def parse(data: bytes) -> Any:
    """The model in ``data`` as a mutable ``ModelT``; raises `DataError` if it is none, is damaged or is truncated."""
    from ai_edge_litert.tools import flatbuffer_utils

    if len(data) < 8 or data[4:8] != _IDENTIFIER:
        raise DataError("no TFLite model: it has no 'TFL3' mark")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
        _check(model)
    except DataError:
        raise
    except Exception as error:  # generated code raises whatever a damaged offset makes it raise
        raise DataError(f"a damaged or truncated TFLite model ({type(error).__name__}: {error})") from None
    return model


def serialize(model: Any) -> bytes:
    """The bytes of a ``ModelT``; the same object always gives the same bytes. Raises `DataError` beyond 2 GiB."""
    from ai_edge_litert.tools import flatbuffer_utils

    data = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    if len(data) >= _LARGEST:
        raise DataError(f"the model has {len(data)} bytes, a TFLite file has less than {_LARGEST}")
    return data


def op_name(model: Any, op: Any) -> str:
    """The name of an op such as ``CONV_2D``, or a custom op's own name."""
    code = model.operatorCodes[op.opcodeIndex]
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)  # schema.fbs, OperatorCode: the larger one counts
    if is_custom(model, op):
        return text(code.customCode)
    return _names("BuiltinOperator").get(builtin, f"op {builtin}")


def op_code(name: str) -> int:
    """The schema's number of a built-in op."""
    return _codes("BuiltinOperator")[name]


def is_custom(model: Any, op: Any) -> bool:
    """Whether an op is not built in: Select TF ops (``Flex…``) and ops of somebody's own."""
    code = model.operatorCodes[op.opcodeIndex]
    return bool(max(code.builtinCode, code.deprecatedBuiltinCode) == _codes("BuiltinOperator")["CUSTOM"])


def type_name(tensor: Any) -> str:
    """The tensor's type in lower case: ``float32``, ``int8``, ``int4`` …"""
    return _names("TensorType").get(tensor.type, f"type {tensor.type}").lower()


def type_code(name: str) -> int:
    """The schema's number of a type that `type_name` calls so."""
    return _codes("TensorType")[name.upper()]


def store(model: Any, tensor: Any, data: bytes) -> None:
    """Give a constant other bytes; tensors that share its present ones keep these."""
    sharing = sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors)
    if sharing > 1 or tensor.buffer == 0:  # schema.fbs, Model.buffers: the first one stays empty
        model.buffers.append(copy.copy(model.buffers[0]))
        tensor.buffer = len(model.buffers) - 1
    model.buffers[tensor.buffer].data = np.frombuffer(data, np.uint8)


def data_of(model: Any, tensor: Any) -> bytes:
    """The bytes of a constant tensor; empty for one that is computed."""
    held = model.buffers[tensor.buffer].data
    if held is None:
        return b""
    return held.tobytes() if isinstance(held, np.ndarray) else bytes(held)


def text(value: bytes | str | None) -> str:
    """Names are bytes when read and may be text when set."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def distinct(names: Iterable[str]) -> list[str]:
    """``names``, those that were there before with a number behind them, as Keras does it: ``dense``, ``dense_1``."""
    given, taken = list(names), set[str]()
    chosen = []
    for name in given:
        number, free = 1, name
        while free in taken or (free != name and free in given):
            number, free = number + 1, f"{name}_{number}"
        taken.add(free)
        chosen.append(free)
    return chosen


def _check(model: Any) -> None:
    """References that are followed blindly by whoever comes next."""
    if not model.subgraphs:
        raise DataError("a TFLite model without a graph")
    for graph in model.subgraphs:
        tensors = len(graph.tensors or ())
        for op in graph.operators or ():
            if not 0 <= op.opcodeIndex < len(model.operatorCodes):
                raise DataError("a damaged TFLite model: an op has no code")
            for index in (*_ints(op.inputs), *_ints(op.outputs)):
                if not -1 <= index < tensors:
                    raise DataError("a damaged TFLite model: an op names a tensor that is not there")
        for index in (*_ints(graph.inputs), *_ints(graph.outputs)):
            if not 0 <= index < tensors:
                raise DataError("a damaged TFLite model: the graph names a tensor that is not there")
        for tensor in graph.tensors or ():
            if not 0 <= tensor.buffer < len(model.buffers):
                raise DataError("a damaged TFLite model: a tensor has no buffer")


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values] if values is not None else []


def _codes(enum: str) -> dict[str, int]:
    from ai_edge_litert import schema_py_generated as schema

    return {name: code for name, code in vars(getattr(schema, enum)).items() if not name.startswith("_")}


def _names(enum: str) -> dict[int, str]:
    return {code: name for name, code in _codes(enum).items()}
