"""What a ``.tflite`` file has to have so that every tool takes it: a SignatureDef, and a batch of 1.

Files of old converters have no SignatureDef; LiteRT runs them, litert-quantizer's static mode does not. Files of Keras
leave the batch open; a device serves one sample at a time.
"""

from collections.abc import Iterable
from typing import Any

from maas_converter.tflite import model as files

SIGNATURE = "serving_default"
"""What TensorFlow calls the signature of a model that has only one."""


def with_signature(data: bytes) -> bytes:
    """``data`` with a SignatureDef ``serving_default``; the same bytes if it has a SignatureDef already.

    Its keys are the tensors' own names. Raises `DataError` if ``data`` is no TFLite model.
    """
    model = files.parse(data)
    if model.signatureDefs:
        return data
    sign(model)
    return files.serialize(model)


def sign(model: Any) -> None:
    """Give a ``ModelT`` one SignatureDef ``serving_default`` over its first graph, in place of those it has."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = _keyed(graph, graph.inputs, "input")
    signature.outputs = _keyed(graph, graph.outputs, "output")
    model.signatureDefs = [signature]


def fixed_batch(data: bytes) -> bytes:
    """``data`` with 1 wherever a first dimension is open; the same bytes if none is. Other open sizes stay open.

    Raises `DataError` if ``data`` is no TFLite model.
    """
    model = files.parse(data)
    opened = [tensor for graph in model.subgraphs for tensor in graph.tensors or () if _has_open_batch(tensor)]
    if not opened:
        return data
    given = [model.subgraphs[0].tensors[index] for index in model.subgraphs[0].inputs]
    for tensor in opened:
        # What is computed is stored as for batch 1, where a batch that was folded into another dimension is more.
        first = 1 if any(tensor is taken for taken in given) else int(tensor.shape[0])
        rest = [int(size) for size in tensor.shapeSignature[1:]]
        tensor.shape = [first, *map(int, tensor.shape[1:])]
        tensor.shapeSignature = [first, *rest] if -1 in rest else None
    return files.serialize(model)


def _has_open_batch(tensor: Any) -> bool:
    return tensor.shapeSignature is not None and len(tensor.shapeSignature) > 0 and int(tensor.shapeSignature[0]) == -1


def _keyed(graph: Any, indexes: Iterable[int], default: str) -> list[Any]:
    """One entry of a SignatureDef for each tensor, under its name or, where that is empty or taken, another one."""
    from ai_edge_litert import schema_py_generated as schema

    taken: set[str] = set()
    entries = []
    for index in map(int, indexes):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = _unused(files.text(graph.tensors[index].name) or default, taken).encode(), index
        entries.append(entry)
    return entries


def _unused(name: str, taken: set[str]) -> str:
    number, chosen = 2, name
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    taken.add(chosen)
    return chosen
