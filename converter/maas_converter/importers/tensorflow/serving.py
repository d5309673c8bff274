"""The part of a SavedModel that is loaded and run: what the chosen signature's outputs need, if that only computes.

Loading a SavedModel as TensorFlow does runs its initializers (``main_op``), and whatever op of its graph the file says
restores its weights. Here what the outputs do not need never gets into TensorFlow, and what they need is made of ops
that are listed, see `maas_converter.importers.tensorflow.operations`. Weights are read as data, see `weights`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.tensorflow.effects import bodies, calls
from maas_converter.importers.tensorflow.operations import OPERATIONS

_MOST_NODES = 1_000_000
"""Of a graph, and with every function written out where it is called. The largest of vision have some ten thousand."""
_DEEPEST = 100
"""How deep functions may call each other; Keras nests one a layer."""
_MOST_BYTES = 2 << 30
"""Of all constants: more than a ``.tflite`` file holds."""
_INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "saved_model_initializers")
_INITIALIZER = "__saved_model_init_op"
_TABLES = re.compile(r"(Anonymous)?(Mutable)?(Dense)?HashTable(OfTensors)?(V2)?|(Lookup|Initialize)Table\w*")
_LOADING = re.compile(r"Restore(V2|Slice)?|MergeV2Checkpoints|ShardedFilename|VarIsInitializedOp|ReadFile")
"""What loading a model needs: to restore weights, and tables."""
_PLACES = ("_class", "config", "config_proto", "executor_type")
"""Attributes that say where and by what something is run: on one processor here, as TensorFlow pleases."""
_HANDLES = (20, 21)
"""``DT_RESOURCE`` and ``DT_VARIANT``."""
_REASONS = (
    (r"PyFunc\w*|EagerPyFunc", "calls Python"),
    (r"Print(V2)?|\w*Summar\w+|ImportEvent|Debug\w*|DumpTensor|Copy(Host)?|CalibrationStat\w+", "writes logs or files"),
    (
        r"(Read|Write)File|\w*Files\w*|\w*(Save|Restore|Checkpoint)\w*|\w*TFRecord\w*|ImmutableConst|\w*Snapshot\w*"
        r"|FileSystem\w*|(Load|Generate)And\w+|GenerateVocab\w*|\w*Reader\w*|(De|En)codeProto\w*|RecordInput|Skipgram"
        r"|\w*Table(FromTextFile)\w*|FixedUnigram\w*",
        "reads or writes files",
    ),
    (
        r"_?(Host)?(Send|Recv)\w*|\w*Collective\w*|_?Nccl\w*|Rpc\w*|RemoteCall|DataService\w*|RegisterDataset\w*|Worker\w*"
        r"|(Anonymous)?MultiDevice\w*",
        "talks to other machines",
    ),
    (r"\w*(TPU|Tpu)\w*|DTensor\w*|\w*SparseCore\w*|\w*(In|Out)feed\w*", "is for hardware that is not here"),
    (r"_?Xla\w*|_?Mlir\w*", "runs code compiled from what the file holds"),
    (r"\w*(Dataset|Iterator|Queue|Barrier)\w*", "gets data of its own"),
    (r"Abort|Sleep\w*|GetSession\w*|Timestamp", "reaches into the process that runs it"),
)


def serving_part(tensorflow: Any, meta: Any, taken: Any, outputs: Iterable[str], *, trust: bool) -> Any:
    """What ``outputs`` (tensors) need of the graph of ``meta``, control included, if the input ``taken`` is given.

    ``taken`` is a ``TensorInfo``. Raises `DataError` that says which op may do more than compute, unless ``trust``, and
    if running the graph would have no end.
    """
    whole = meta.graph_def
    if sum(len(nodes) for nodes in bodies(whole)) > _MOST_NODES:
        raise DataError(f"its graph has more than {_MOST_NODES:,} ops")
    graph = type(whole)(versions=whole.versions)
    _take_nodes(whole, graph, taken, outputs)
    _take_functions(whole, graph)
    _check_size(tensorflow, graph)
    _refuse_tables(graph)
    if not trust:
        _refuse_reach(tensorflow, graph)
    for nodes in bodies(graph):
        for node in nodes:
            node.device = ""
            for name in _PLACES:
                node.attr.pop(name, None)
    return graph


def not_run(meta: Any) -> list[str]:
    """Ops that TensorFlow would run while it loads the model, other than such as compute, restore weights or tables."""
    whole = meta.graph_def
    roots = [meta.saver_def.restore_op_name]
    for name in _INITIALIZERS:
        if name in meta.collection_def:
            roots += meta.collection_def[name].node_list.value
    if _INITIALIZER in meta.signature_def:
        roots += [info.name for info in meta.signature_def[_INITIALIZER].outputs.values()]
    nodes = {node.name: node for node in whole.node}
    functions = {function.signature.name: function for function in whole.library.function}
    reached = [nodes[name] for name in _reached(nodes, map(_node, roots), set())]
    inner = (node for name in _called(functions, reached) for node in functions[name].node_def)
    ops = {node.op for node in [*reached, *inner]}
    return sorted(
        op for op in ops - OPERATIONS - set(functions) if not _LOADING.fullmatch(op) and not _TABLES.fullmatch(op)
    )


def dtype_of(tensorflow: Any, number: int) -> Any:
    """The dtype that a message names by its number; raises `DataError` if there is none of that number."""
    try:
        return tensorflow.as_dtype(number)
    except TypeError:
        raise DataError(f"it is damaged: it names the type number {number}, which is none of TensorFlow's") from None


def shown(name: str) -> str:
    """A name from the file, at a length for a sentence."""
    return name if len(name) <= 80 else f"{name[:77]}…"


def _take_nodes(whole: Any, graph: Any, taken: Any, outputs: Iterable[str]) -> None:
    nodes = _by_name(whole.node, lambda node: str(node.name))
    source = _node(taken.name)
    roots = [_node(tensor) for tensor in outputs]
    for name in (source, *roots):
        if name not in nodes:
            raise DataError(f"its signature names {shown(name)!r}, which is not in its graph: it is damaged")
    # What computes the input is not needed: the input is given.
    given = {source, f"{source}:0"} if taken.name in (source, f"{source}:0") else set()
    reached = _reached(nodes, roots if given else [source, *roots], given)
    for node in whole.node:
        if node.name in reached or node.name == source:
            graph.node.add().CopyFrom(node)
    if source not in reached and nodes[source].input:
        copy = next(node for node in graph.node if node.name == source)
        copy.Clear()
        copy.name, copy.op = source, "Placeholder"
        copy.attr["dtype"].type = taken.dtype
        copy.attr["shape"].shape.CopyFrom(taken.tensor_shape)


def _take_functions(whole: Any, graph: Any) -> None:
    functions = _by_name(whole.library.function, lambda function: str(function.signature.name))
    called = _called(functions, graph.node)
    for function in whole.library.function:
        if function.signature.name in called:
            graph.library.function.add().CopyFrom(function)


def _by_name(entries: Iterable[Any], name_of: Any) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for entry in entries:
        if named.setdefault(name_of(entry), entry) is not entry:
            raise DataError(f"{shown(name_of(entry))!r} is in its graph twice: it is damaged")
    return named


def _reached(nodes: Mapping[str, Any], roots: Iterable[str], given: set[str]) -> set[str]:
    """Names of nodes that ``roots`` need, control inputs included; not what the tensors ``given`` need."""
    reached: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            left.extend(_node(source) for source in nodes[name].input if source not in given)
    return reached


def _called(functions: Mapping[str, Any], nodes: Iterable[Any]) -> set[str]:
    """Names of ``functions`` that ``nodes`` may call, at any depth."""
    called: set[str] = set()
    left = [name for node in nodes for name in calls(node)]
    while left:
        name = left.pop()
        if name in functions and name not in called:
            called.add(name)
            left.extend(inner for node in functions[name].node_def for inner in calls(node))
    return called


def _check_size(tensorflow: Any, graph: Any) -> None:
    """Raise `DataError` if functions call themselves, or if they or constants are boundless when written out."""
    functions = {function.signature.name: function for function in graph.library.function}
    sizes: dict[str, int] = {}
    stack: list[str] = []

    def size(nodes: Iterable[Any]) -> int:
        return sum(1 + sum(of_function(name) for name in calls(node) if name in functions) for node in nodes)

    def of_function(name: str) -> int:
        if name in stack:
            raise DataError(f"its function {shown(name)!r} calls itself, which nothing ends")
        if len(stack) == _DEEPEST:
            raise DataError(f"its functions call each other more than {_DEEPEST} deep")
        if name not in sizes:
            stack.append(name)
            sizes[name] = size(functions[name].node_def)
            stack.pop()
        return sizes[name]

    if size(graph.node) > _MOST_NODES:
        raise DataError(f"its graph has more than {_MOST_NODES:,} ops when its functions are written out")
    total = sum(_bytes_of(tensorflow, tensor) for tensor in _constants(graph))
    if total > _MOST_BYTES:
        raise DataError(
            f"its constants are {total / (1 << 30):.3g} GiB when written out, more than {_MOST_BYTES >> 30} GiB"
        )


def _constants(graph: Any) -> Iterator[Any]:
    for nodes in bodies(graph):
        for node in nodes:
            for attribute in node.attr.values():
                if attribute.HasField("tensor"):
                    yield attribute.tensor
                yield from attribute.list.tensor


def _bytes_of(tensorflow: Any, tensor: Any) -> int:
    sizes = [int(dim.size) for dim in tensor.tensor_shape.dim]
    if any(size < 0 for size in sizes):
        raise DataError("a constant in its graph has a negative size: it is damaged")
    return math.prod(sizes) * max(1, int(dtype_of(tensorflow, tensor.dtype).size or 1))


def _refuse_tables(graph: Any) -> None:
    """What a table holds is filled in by initializers, which are not run."""
    if any(_TABLES.fullmatch(node.op) for nodes in bodies(graph) for node in nodes):
        raise DataError(
            "it looks values up in a table (IntegerLookup, StringLookup, tf.lookup), which is not in the graph: save "
            "the model with model.save('NAME.keras') and convert that"
        )


def _refuse_reach(tensorflow: Any, graph: Any) -> None:
    """Raise `DataError` for the first op that may do more than compute; what is looked at is all that is loaded."""
    functions = {function.signature.name for function in graph.library.function}
    for nodes in bodies(graph):
        for node in nodes:
            problem = _problem(tensorflow, node, functions)
            if problem is not None:
                raise DataError(
                    f"its graph may do more than compute: the op {problem}; save it without, or allow it with --trust "
                    "if you know who wrote it"
                )


def _problem(tensorflow: Any, node: Any, functions: set[str]) -> str | None:
    told = f"{shown(node.op)} (at {shown(node.name)})"
    known = _registered(tensorflow, node.op)
    if node.op in functions:
        # TensorFlow takes either for the other.
        return f"{told} is at once a function in it and TensorFlow's own" if known else None
    if node.op not in OPERATIONS:
        reasons = (reason for pattern, reason in _REASONS if re.fullmatch(pattern, node.op))
        other = "is not of those that only compute" if known else "is of a library of its own, not of TensorFlow"
        return f"{told} {next(reasons, other)}"
    for attribute in node.attr.values():
        tensors = (*([attribute.tensor] if attribute.HasField("tensor") else []), *attribute.list.tensor)
        if any(tensor.dtype in _HANDLES for tensor in tensors):
            return f"{told} is a constant of no numbers, but a handle of something"
        for function in (*([attribute.func] if attribute.HasField("func") else []), *attribute.list.func):
            inner = function.attr.values()
            if function.name not in functions or any(each.HasField("func") or each.list.func for each in inner):
                return f"{told} calls {shown(function.name)!r}, which is no function in it"
    return None


def _registered(tensorflow: Any, op: str) -> bool:
    return op in _registry(tensorflow)


def _registry(tensorflow: Any) -> Any:
    return vars(tensorflow.raw_ops)


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
