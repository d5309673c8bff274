"""NEG and SQUARE as a MUL: LiteRT computes these in floats only, and a product in integers as well.

The float answers stay the same to the bit.
"""

from typing import Any

import numpy as np

from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of

_PRODUCTS = ("NEG", "SQUARE")


def with_products(data: bytes) -> bytes:
    """The model with every such op of floats as a product; the same bytes if there is none."""
    contents = contents_of(data)
    graph = contents.graphs[0]
    found = [op for op in graph.ops if op.name in _PRODUCTS and graph.tensors[op.outputs[0]].dtype == "float32"]
    if not found:
        return data
    model = files.parse(data)
    main = model.subgraphs[0]
    model.operatorCodes.append(_code("MUL"))
    for op in found:
        other = op.inputs[0] if op.name == "SQUARE" else _minus_one(model, main)
        _multiply(main.operators[op.index], [op.inputs[0], other], len(model.operatorCodes) - 1)
    return files.serialize(model)


def _code(name: str) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = files.op_code(name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    return code


def _multiply(operator: Any, inputs: list[int], code: int) -> None:
    from ai_edge_litert import schema_py_generated as schema

    operator.opcodeIndex, operator.inputs = code, inputs
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    operator.builtinOptions2Type, operator.builtinOptions2 = schema.BuiltinOptions2.NONE, None


def _minus_one(model: Any, graph: Any) -> int:
    """The number of a new constant."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.buffer, tensor.shape = f"minus_one_{len(graph.tensors)}".encode(), 0, []
    tensor.type = files.type_code("float32")
    files.store(model, tensor, np.float32(-1).tobytes())
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
