"""The weights of a SavedModel, read as data: no op of the file is run for them.

What restores them is a part of the graph that the file names; it says which variable is which tensor of a checkpoint.
That is followed here: ``Assign…(variable, Identity(RestoreV2(file, names)))``, at the top of the graph (TensorFlow 1)
or in a function (TensorFlow 2). The tensors come from ``variables/variables.*`` in the model's folder, from nowhere
else.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.importers.refusal import first_sentence
from maas_converter.importers.tensorflow.effects import calls
from maas_converter.importers.tensorflow.serving import dtype_of, shown

VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_ASSIGN = ("AssignVariableOp", "Assign")
_SAME = ("Identity", "RefIdentity")
_MOST_BYTES = 8 << 30
"""Of all variables in memory: four times what a ``.tflite`` file holds."""
_LONGEST = 100
"""How many identities may lie between a variable and what is done to it."""


class Place(msgspec.Struct, frozen=True):
    """Where a variable's value is in a checkpoint."""

    key: str
    part: str = ""
    """Of a larger tensor: ``4 3 2,2:-`` are the last two rows of (4, 3); all of it without."""


def places(graph: Any, restore: str) -> dict[str, Place]:
    """Where the op ``restore`` of the whole ``graph`` would get variables from, by what they are called."""
    functions = {function.signature.name: function for function in graph.library.function}
    found: dict[str, Place] = {}
    seen: set[str] = set()

    def look(nodes: Mapping[str, Any], roots: Iterable[str], given: Mapping[str, str]) -> None:
        for name in _needed(nodes, roots):
            node = nodes[name]
            if node.op in _ASSIGN and len(node.input) > 1:
                variable = _variable(nodes, node.input[0], given)
                place = _place(nodes, node.input[1])
                if variable is not None and place is not None:
                    found[variable] = place
            for called in calls(node):
                if called in functions and called not in seen:
                    seen.add(called)
                    function = functions[called]
                    arguments = zip(function.signature.input_arg, node.input, strict=False)
                    known = {argument.name: _variable(nodes, source, given) for argument, source in arguments}
                    inner = {node.name: node for node in function.node_def}
                    look(inner, inner, {name: value for name, value in known.items() if value is not None})

    look({node.name: node for node in graph.node}, [_node(restore)], {})
    return found


def weights(tensorflow: Any, folder: Path, graph: Any, found: Mapping[str, Place]) -> dict[str, NDArray[Any]]:
    """The values of the variables in ``graph`` (that serves) by their nodes' names, from the SavedModel in ``folder``.

    A variable that is not restored is left out. Raises `DataError` if files are missing, damaged, or do not fit.
    """
    needed = {node.name: found[called(node)] for node in graph.node if node.op in VARIABLES and called(node) in found}
    if not any(node.op in VARIABLES for node in graph.node):
        return {}
    prefix = folder / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        raise DataError(
            "its weights are missing: there is no file variables/variables.index in it; copy the whole folder"
        )
    try:
        reader = tensorflow.compat.v1.train.NewCheckpointReader(str(prefix))
        _check_sizes(reader, needed, sum(path.stat().st_size for path in prefix.parent.glob("variables.data-*")))
        whole = {key: reader.get_tensor(key) for key in {place.key for place in needed.values()}}
    except DataError:
        raise
    except Exception as error:  # TensorFlow's own errors for damaged checkpoints
        raise DataError(f"its weights cannot be read, they are damaged or truncated: {first_sentence(error)}") from None
    values = {name: _part(whole[place.key], place) for name, place in needed.items()}
    for node in graph.node:
        if node.name in values:
            _check_fit(tensorflow, node, values[node.name])
    return values


def called(node: Any) -> str:
    """What a variable's node calls it: two nodes of one name are one variable."""
    return (node.attr["shared_name"].s.decode("utf-8", "replace") if "shared_name" in node.attr else "") or node.name


def _check_sizes(reader: Any, needed: Mapping[str, Place], there: int) -> None:
    """Raise `DataError` for what the files cannot hold, before room is made for it."""
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    sizes = {}
    for place in needed.values():
        if place.key not in shapes:
            raise DataError(f"its weights are damaged: there is no {shown(place.key)!r} in variables/variables.index")
        sizes[place.key] = math.prod(shapes[place.key]) * max(1, int(dtypes[place.key].size or 1))
    if sum(sizes.values()) > there:
        raise DataError(
            f"its weights are damaged or truncated: {sum(sizes.values()):,} bytes are {there:,} in its files"
        )
    if sum(sizes[place.key] for place in needed.values()) > _MOST_BYTES:
        raise DataError(f"its variables take more than {_MOST_BYTES >> 30} GiB")


def _check_fit(tensorflow: Any, node: Any, value: NDArray[Any]) -> None:
    if "dtype" in node.attr and dtype_of(tensorflow, node.attr["dtype"].type) != tensorflow.as_dtype(value.dtype):
        raise DataError(f"its weights do not fit: {shown(node.name)!r} is {value.dtype} in variables/variables.*")
    if "shape" not in node.attr or node.attr["shape"].shape.unknown_rank:
        return
    shape = [int(dim.size) for dim in node.attr["shape"].shape.dim]
    if len(shape) != value.ndim or any(a not in (-1, b) for a, b in zip(shape, value.shape, strict=True)):
        raise DataError(
            f"its weights do not fit: {shown(node.name)!r} is {list(value.shape)} in variables/variables.*, not {shape}"
        )


def _part(whole: NDArray[Any], place: Place) -> NDArray[Any]:
    *_, cut = place.part.split(" ") if place.part else [""]
    if not cut:
        return whole
    try:
        ranges = [None if each == "-" else [int(number) for number in each.split(",")] for each in cut.split(":")]
        slices = tuple(slice(None) if each is None else slice(each[0], each[0] + each[1]) for each in ranges)
        return np.ascontiguousarray(whole[slices]) if slices else whole
    except (ValueError, IndexError):
        raise DataError(f"its weights are damaged: no part {shown(place.part)!r} of a tensor is one") from None


def _variable(nodes: Mapping[str, Any], source: str, given: Mapping[str, str]) -> str | None:
    """What the variable behind the tensor ``source`` is called."""
    for _ in range(_LONGEST):
        name = _node(source)
        if name in given:
            return given[name]
        node = nodes.get(name)
        if node is None:
            return None
        if node.op in VARIABLES:
            return called(node)
        if node.op not in _SAME:
            return None
        source = node.input[0] if node.input else ""
    return None


def _place(nodes: Mapping[str, Any], source: str) -> Place | None:
    """Where the tensor ``source`` is read from, if it is read from a checkpoint as it is."""
    for _ in range(_LONGEST):
        node = nodes.get(_node(source))
        if node is None or not node.input:
            return None
        if node.op == "RestoreV2" and len(node.input) == 3:
            number = source.rpartition(":")[2]
            index = int(number) if ":" in source and number.isdecimal() else 0
            key, part = (_text(nodes.get(_node(name)), index) for name in node.input[1:])
            return None if key is None else Place(key, part or "")
        if node.op not in _SAME:
            return None
        source = node.input[0]
    return None


def _text(node: Any, index: int) -> str | None:
    """An element of a constant list of texts; one that is repeated to the end is written once."""
    if node is None or node.op != "Const" or "value" not in node.attr:
        return None
    texts = node.attr["value"].tensor.string_val
    return texts[min(index, len(texts) - 1)].decode("utf-8", "replace") if texts else None


def _needed(nodes: Mapping[str, Any], roots: Iterable[str]) -> list[str]:
    needed: dict[str, None] = {}
    left = list(roots)
    while left:
        name = left.pop()
        if name in nodes and name not in needed:
            needed[name] = None
            left.extend(_node(source) for source in nodes[name].input)
    return list(needed)


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
