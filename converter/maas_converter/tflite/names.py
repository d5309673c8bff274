"""What a model's inputs and outputs are called: by whoever made it, as far as the file still knows.

The keys of the SignatureDef are names that people gave. Names of tensors are TensorFlow's, which wraps those of inputs
and loses those of outputs; files of old converters have nothing else.
"""

import re
from typing import Any

import msgspec

from maas_converter.tflite import model as files
from maas_converter.tflite.signature import signature_of

_LOST = re.compile(r"(Stateful)?PartitionedCall|output_\d+$|Identity$")
"""What TensorFlow calls what nobody named."""


class Names(msgspec.Struct, frozen=True):
    """Names of a model's inputs and outputs, in the order of its graph; no two are the same."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def names_of(data: bytes) -> Names:
    """What the inputs and outputs of a ``.tflite`` file are called; raises `DataError` if it is none."""
    return names_in(files.parse(data))


def names_in(model: Any) -> Names:
    """The names of a parsed model's inputs and outputs; see `names_of`."""
    graph, signature = model.subgraphs[0], signature_of(model)
    given = _keys(graph.inputs, signature.inputs if signature is not None else None, graph)
    made = _keys(graph.outputs, signature.outputs if signature is not None else None, graph)
    outputs = _outputs(made, [files.text(graph.tensors[index].name) for index in graph.outputs])
    inputs = _distinct([_plain(key) or "input" for key in given], given, "input", taken=set(outputs))
    return Names(tuple(inputs), tuple(outputs))


def _outputs(keys: list[str], tensors: list[str]) -> list[str]:
    if len(keys) == 1:
        plain = next((_plain(name) for name in (*keys, *tensors) if not _LOST.match(_plain(name))), "")
        return [plain or "output"]
    cleaned = [_plain(key) if key == tensor else key for key, tensor in zip(keys, tensors, strict=True)]
    named = [
        f"output_{number}" if not name or "PartitionedCall" in name else name for number, name in enumerate(cleaned)
    ]
    return _distinct(named, keys, "output", taken=set())


def _distinct(plain: list[str], keys: list[str], what: str, taken: set[str]) -> list[str]:
    """The plain names if they are distinct, else the keys, else numbers."""
    numbered = [what] if len(plain) == 1 else [f"{what}_{number}" for number in range(len(plain))]
    for names in (plain, keys, numbered):
        if len(set(names)) == len(names) and not taken & set(names):
            return names
    return [f"{what}s_{number}" for number in range(len(plain))]


def _keys(ends: Any, entries: Any, graph: Any) -> list[str]:
    """The signature's key of each end, else its tensor's name."""
    known = list(entries or ())
    indexes = [int(index) for index in ends]
    if [int(entry.tensorIndex) for entry in known] == indexes:
        return [files.text(entry.name) for entry in known]
    by_tensor = {int(entry.tensorIndex): files.text(entry.name) for entry in reversed(known)}
    return [by_tensor.get(index) or files.text(graph.tensors[index].name) for index in indexes]


def _plain(name: str) -> str:
    """A tensor's name without what TensorFlow puts around it."""
    return re.sub(r"(^(serving_default|serve)_|:\d+$)", "", name)
