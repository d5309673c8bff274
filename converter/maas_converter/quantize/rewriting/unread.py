"""Outputs of ops that nothing reads, such as the forget gate in the first step of an unrolled LSTM.

They are never computed, so they have no range, and litert-quantizer leaves them float32 beside siblings that are int8.
LiteRT's SPLIT takes no mixture and refuses the model.
"""

import copy
from typing import Any

from maas_converter.tflite import model as files
from maas_converter.tflite.contents import Contents


def has_unread(contents: Contents) -> bool:
    """Whether some op of several outputs has one that nothing reads."""
    for graph in contents.graphs:
        read = {index for op in graph.ops for index in op.inputs} | set(graph.outputs)
        if any(len(op.outputs) > 1 and not read.issuperset(op.outputs) for op in graph.ops):
            return True
    return False


def like_their_siblings(quantized: bytes) -> bytes:
    """The model with each unread float output stored as the op's first quantized one."""
    model = files.parse(quantized)
    for graph in model.subgraphs:
        read = {int(index) for op in graph.operators for index in op.inputs} | {int(index) for index in graph.outputs}
        for op in graph.operators:
            _align(graph, [int(index) for index in op.outputs if index >= 0], read)
    return files.serialize(model)


def _align(graph: Any, outputs: list[int], read: set[int]) -> None:
    siblings = [graph.tensors[index] for index in outputs if _has_scale(graph.tensors[index])]
    for index in outputs if siblings else ():
        tensor = graph.tensors[index]
        if index not in read and files.type_name(tensor) == "float32":
            tensor.type, tensor.quantization = siblings[0].type, copy.deepcopy(siblings[0].quantization)


def _has_scale(tensor: Any) -> bool:
    return (
        tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale) > 0
    )
