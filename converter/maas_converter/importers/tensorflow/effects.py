"""What a graph does besides answering, such as counting or moving a seed on: told from what the answer needs.

A model that only answers leaves nothing behind. A layer may write a variable all the same: dropout moves its seed on
also where it drops nothing, batch normalization its averages. That is left out, unless the answer reads what was
written. Graphs are ``GraphDef`` messages; what an output needs is followed along its data, into functions and loops.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from maas_agent.errors import DataError

Variables = Mapping[str, str]
"""Names of nodes, or of a function's arguments, that hold a variable, and the variable."""

_WRITES = re.compile(
    r"Assign\w*VariableOp|Resource(Scatter|Apply|SparseApply|Accumulator|Conditional|StridedSliceAssign)\w*"
    r"|RngSkip|RngReadAndSkip(V2)?|Stateful(Uniform|StandardNormal|TruncatedNormal|RandomBinomial)\w*"
)
_BRANCHES = {"If", "StatelessIf", "Case", "StatelessCase"}
"""Their first input chooses; their functions take the others."""
_DESTROY = "DestroyResourceOp"
_SEED = re.compile(r"seed|rng|random|generator|StateVar", re.IGNORECASE)


def without_effects(graph: Any, outputs: Iterable[str], variables: Variables) -> None:
    """Leave in ``graph`` what the tensors ``outputs`` need; raises `DataError` for a state that they depend on."""
    roots = [_node(tensor) for tensor in outputs]
    written = written_by(graph, roots, variables)
    # (1) An answer has no order of its own: what it needs comes by its inputs.
    _keep(graph.node, roots)
    for function in graph.library.function:
        function.control_ret.clear()
        del function.signature.control_output[:]
        _keep(function.node_def, [_node(tensor) for tensor in function.ret.values()])
    # (2) What is read and was written is remembered from one sample to the next.
    kept = sorted(written & _touched(graph, roots, variables, lambda op: op != _DESTROY))
    if kept:
        raise DataError(_sentence(kept))


def written_by(graph: Any, roots: Iterable[str], variables: Variables) -> set[str]:
    """The variables that are written while the nodes ``roots`` are computed, control inputs included."""
    return _touched(graph, roots, variables, lambda op: _WRITES.fullmatch(op) is not None)


def calls(node: Any) -> Iterator[str]:
    """Names of the functions that ``node`` may call."""
    yield node.op
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def bodies(graph: Any) -> Iterator[Any]:
    """The nodes of ``graph`` itself, then those of each of its functions."""
    yield graph.node
    for function in graph.library.function:
        yield function.node_def


def rename_functions(graph: Any) -> None:
    """The originals may still be loaded or traced, and TensorFlow allows one definition a name in a process."""
    renamed = {function.signature.name: f"{function.signature.name}_of_one" for function in graph.library.function}
    for function in graph.library.function:
        function.signature.name = renamed[function.signature.name]
    for nodes in bodies(graph):
        for node in nodes:
            node.op = renamed.get(node.op, node.op)
            for attribute in node.attr.values():
                if attribute.HasField("func"):
                    attribute.func.name = renamed.get(attribute.func.name, attribute.func.name)
                for function in attribute.list.func:
                    function.name = renamed.get(function.name, function.name)


def _touched(graph: Any, roots: Iterable[str], variables: Variables, counts: Callable[[str], bool]) -> set[str]:
    """The variables that ops for which ``counts`` holds take, among the nodes that ``roots`` need, at any depth."""
    functions = {function.signature.name: function for function in graph.library.function}

    def look(nodes: Iterable[Any], roots: Iterable[str], known: Variables) -> set[str]:
        found: set[str] = set()
        holding = dict(known)
        for node in _in_order(_needed(nodes, roots)):
            taken = [holding.get(_node(name)) for name in node.input if not name.startswith("^")]
            if not any(taken):
                continue
            inner = [functions[name] for name in calls(node) if name in functions]
            if node.op == "Identity" and taken[0] is not None:
                holding[node.name] = taken[0]
            elif inner:
                arguments = taken[1:] if node.op in _BRANCHES else taken
                for function in inner:
                    found |= look(function.node_def, _ends(function), _arguments(function, arguments))
            elif counts(node.op):
                found.update(variable for variable in taken if variable is not None)
        return found

    return look(graph.node, roots, variables)


def _arguments(function: Any, taken: list[str | None]) -> dict[str, str]:
    named = zip(function.signature.input_arg, taken, strict=False)
    return {argument.name: variable for argument, variable in named if variable is not None}


def _ends(function: Any) -> list[str]:
    return [*(_node(tensor) for tensor in function.ret.values()), *function.control_ret.values()]


def _needed(nodes: Iterable[Any], roots: Iterable[str]) -> dict[str, Any]:
    known = {node.name: node for node in nodes}
    needed: dict[str, Any] = {}
    left = list(roots)
    while left:
        name = left.pop()
        if name in known and name not in needed:
            needed[name] = known[name]
            left.extend(_node(source) for source in known[name].input)
    return needed


def _in_order(nodes: Mapping[str, Any]) -> Iterator[Any]:
    """Identities first, sources before what takes them: they pass a variable on under another name."""
    identities = [node for node in nodes.values() if node.op == "Identity"]
    yield from reversed(identities)
    yield from identities
    yield from (node for node in nodes.values() if node.op != "Identity")


def _keep(nodes: Any, roots: list[str]) -> None:
    """Remove control inputs, then every node that ``roots`` do not need."""
    for node in nodes:
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)
    needed = list(_needed(nodes, roots))
    kept = [node for node in nodes if node.name in set(needed)]
    del nodes[:]
    nodes.extend(kept)


def _sentence(kept: list[str]) -> str:
    named = ", ".join(kept[:5])
    if all(_SEED.search(name) for name in kept):
        return (
            f"it draws random numbers when it answers (by {named}): a device must give the same answer to the same "
            "sample; leave the layer that does out, or do not call it with training=True"
        )
    return (
        f"it remembers earlier samples: it writes {named} when it answers, and reads that for the next answer; a "
        "device must give the same answer to the same sample: save it without that state"
    )


def _node(tensor: str) -> str:
    """The node, or the function's argument, that ``tensor`` comes from."""
    return tensor.removeprefix("^").partition(":")[0]
