"""What a ``.tflite`` file has to have so that every tool takes it: a SignatureDef, in its order, and a batch of 1.

Files of old converters have no SignatureDef; LiteRT runs them, litert-quantizer's static mode does not. Files of Keras
leave the batch open; a device serves one sample at a time. TensorFlow's converter puts the inputs and outputs of the
graph, which is what an interpreter goes by, into any order: only the SignatureDef knows which is which.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from maas_agent.errors import RuntimeFailure
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


def in_signature_order(data: bytes) -> bytes:
    """``data`` with the inputs and outputs of its graph in the order of its signature; the same bytes if they are.

    TensorFlow writes the keys of a signature sorted, and numbers those that have no name: ``output_10`` comes after
    ``output_9`` here. A file with no signature, or with one that leaves something out, stays as it is. Raises
    `DataError` if ``data`` is no TFLite model.
    """
    model = files.parse(data)
    signature = signature_of(model)
    if signature is None:
        return data
    graph = model.subgraphs[0]
    inputs, outputs = _in_order(signature.inputs), _in_order(signature.outputs)
    if not (_covers(inputs, graph.inputs) and _covers(outputs, graph.outputs)):
        return data
    if _indexes(inputs) == list(map(int, graph.inputs)) and _indexes(outputs) == list(map(int, graph.outputs)):
        return data
    _put(model, inputs, outputs)
    return files.serialize(model)


def with_outputs(data: bytes, names: Sequence[str], keys: Sequence[str] = ()) -> bytes:
    """``data`` with its outputs called ``names`` and in that order; ``keys`` are what its signature calls them so far.

    Without ``keys`` the signature has them in that order already. Raises `RuntimeFailure` if it has others.
    """
    model = files.parse(data)
    signature = signature_of(model)
    entries = {files.text(entry.name): entry for entry in signature.outputs} if signature is not None else {}
    chosen = list(keys or entries)
    if set(entries) != set(chosen) or len(chosen) != len(names):
        raise RuntimeFailure(f"TensorFlow's converter made {len(entries)} outputs of {len(names)}: {', '.join(names)}")
    for key, name in zip(chosen, names, strict=True):
        entries[key].name = name.encode()
    _put(model, list(signature.inputs), [entries[key] for key in chosen])
    return files.serialize(model)


def ordered_like(original: bytes, changed: bytes) -> bytes:
    """``changed`` with the inputs and outputs of its graph in the order of those of ``original``, of which it was made.

    The same bytes if they are. Raises `RuntimeFailure` if the two have not the same signature.
    """
    before, after = files.parse(original), files.parse(changed)
    wanted, found = signature_of(before), signature_of(after)
    if wanted is None:
        return changed
    sides = []
    for side in ("inputs", "outputs"):
        entries = {files.text(entry.name): entry for entry in getattr(found, side, None) or ()}
        keys = [files.text(entry.name) for entry in getattr(wanted, side)]
        if set(keys) != set(entries):
            raise RuntimeFailure(f"of the model's {side} {', '.join(keys)} there are left {', '.join(entries)}")
        sides.append([entries[key] for key in keys])
    if [_indexes(side) for side in sides] == [list(map(int, ends)) for ends in _ends(after)]:
        return changed
    _put(after, *sides)
    return files.serialize(after)


def signature_of(model: Any) -> Any:
    """The one SignatureDef of the first graph of a ``ModelT``; ``None`` if it has none or several."""
    found = [signature for signature in model.signatureDefs or () if not signature.subgraphIndex]
    return found[0] if len(found) == 1 else None


def _ends(model: Any) -> tuple[Any, Any]:
    return model.subgraphs[0].inputs, model.subgraphs[0].outputs


def _put(model: Any, inputs: list[Any], outputs: list[Any]) -> None:
    graph, signature = model.subgraphs[0], signature_of(model)
    signature.inputs, signature.outputs = inputs, outputs
    graph.inputs, graph.outputs = _indexes(inputs), _indexes(outputs)


def _indexes(entries: Iterable[Any]) -> list[int]:
    return [int(entry.tensorIndex) for entry in entries]


def _covers(entries: list[Any], ends: Iterable[int]) -> bool:
    return set(_indexes(entries)) == set(map(int, ends))


def _in_order(entries: Iterable[Any] | None) -> list[Any]:
    """The entries as they are, but numbered ones (``output_0``, ``output_1``, ``output_10`` …) by their numbers."""
    found = list(entries or ())
    keys = [files.text(entry.name) for entry in found]
    parted = [re.fullmatch(r"(.*?)(?:_(\d+))?", key, re.DOTALL) for key in keys]
    numbers = [int(part[2] or 0) for part in parted if part is not None]
    stems = {part[1] for part in parted if part is not None}
    if len(stems) != 1 or sorted(numbers) != list(range(len(found))) or keys != sorted(keys):
        return found
    return [entry for _, entry in sorted(zip(numbers, found, strict=True), key=lambda pair: pair[0])]


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
