"""TensorFlow graphs with every variable frozen (``GraphDef``), made to take one sample at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from maas_converter.importers.conversion import to_tflite
from maas_converter.importers.outputs import keyed
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.tflite.signature import with_outputs

_ELEMENT_SHAPE = {
    "EmptyTensorList": 0,
    "TensorListReserve": 0,
    "TensorListFromTensor": 1,
    "TensorListStack": 1,
    "TensorListPopBack": 1,
    "TensorListGetItem": 2,
    "TensorListGather": 2,
    "TensorListConcatV2": 1,
}
"""Ops of loops, and which input says the shape of a step. A recurrent layer that was traced with an open batch says -1
there, as a constant: no inference fixes it, and TFLite needs it fixed."""


def freeze(tensorflow: Any, session: Any, outputs: Mapping[str, str]) -> Any:
    """The part of the session's graph that ``outputs`` (name: tensor) need, with variables turned into constants."""
    nodes = [tensor.partition(":")[0] for tensor in outputs.values()]
    graph = session.graph.as_graph_def()
    try:
        return tensorflow.compat.v1.graph_util.convert_variables_to_constants(session, graph, nodes)
    except Exception as error:  # TensorFlow's errors for variables that were not restored, and Python's own
        raise Passed(f"its variables cannot be read: {first_sentence(error)}") from None


def take_one_sample(tensorflow: Any, graph: Any) -> None:
    """Remove from ``graph`` what was noted for an open batch, so that shapes are inferred anew for a batch of 1."""
    _drop_unused_functions(graph)
    _rename_functions(graph)
    for function in graph.library.function:
        # Names a kernel of tf-keras, which TFLite takes for its own with a lasting state, see `recurrent`.
        function.attr.pop("api_implements", None)
    for nodes in _bodies(graph):
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            node.attr.pop("_output_shapes", None)
            if node.op in _ELEMENT_SHAPE:
                _fix_constant(tensorflow, constants.get(_source(node.input[_ELEMENT_SHAPE[node.op]])))


def convert_graph(
    tensorflow: Any, graph: Any, taken: Any, tensor: str, outputs: Mapping[str, str], folder: str
) -> bytes:
    """Convert a frozen ``graph`` whose input ``tensor`` becomes ``taken``, a named and fixed ``TensorSpec``.

    Its outputs are those that ``outputs`` maps to tensors, by name and in that order.
    """
    take_one_sample(tensorflow, graph)
    try:
        served = tensorflow.function(_importing(tensorflow, graph, tensor, outputs), input_signature=[taken])
        holder = tensorflow.Module()
        holder.served = served.get_concrete_function()
        tensorflow.saved_model.save(holder, folder, signatures={"serve": holder.served})
    except Exception as error:  # a shape that does not suit an op
        raise Passed(f"it cannot be run on an input of shape {list(taken.shape)}: {first_sentence(error)}") from None
    made = to_tflite(
        tensorflow, lambda: tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    )
    return with_outputs(made, list(outputs), list(keyed(list(outputs))))


def _importing(tensorflow: Any, graph: Any, tensor: str, outputs: Mapping[str, str]) -> Callable[[Any], dict[str, Any]]:
    def serve(batch: Any) -> dict[str, Any]:
        made = tensorflow.graph_util.import_graph_def(
            graph, input_map={tensor: batch}, return_elements=list(outputs.values()), name=""
        )
        return keyed(made)

    return serve


def _drop_unused_functions(graph: Any) -> None:
    """Those that the frozen graph calls no more may call others that freezing has removed."""
    known = {function.signature.name: function for function in graph.library.function}
    called: set[str] = set()
    left = [name for node in graph.node for name in _calls(node)]
    while left:
        name = left.pop()
        if name in known and name not in called:
            called.add(name)
            left.extend(inner for node in known[name].node_def for inner in _calls(node))
    unused = [name for name in known if name not in called]
    for name in unused:
        graph.library.function.remove(known[name])


def _calls(node: Any) -> Iterator[str]:
    yield node.op
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _rename_functions(graph: Any) -> None:
    """The originals may still be loaded, and TensorFlow allows one definition a name in a process."""
    renamed = {function.signature.name: f"{function.signature.name}_of_one" for function in graph.library.function}
    for function in graph.library.function:
        function.signature.name = renamed[function.signature.name]
    for nodes in _bodies(graph):
        for node in nodes:
            node.op = renamed.get(node.op, node.op)
            for attribute in node.attr.values():
                if attribute.HasField("func"):
                    attribute.func.name = renamed.get(attribute.func.name, attribute.func.name)
                for function in attribute.list.func:
                    function.name = renamed.get(function.name, function.name)


def _fix_constant(tensorflow: Any, node: Any) -> None:
    if node is None:
        return
    shape = tensorflow.make_ndarray(node.attr["value"].tensor).copy()
    if shape.ndim == 1 and shape.size > 0 and shape[0] == -1:
        shape[0] = 1
        node.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(shape))


def _bodies(graph: Any) -> Iterator[Any]:
    yield graph.node
    for function in graph.library.function:
        yield function.node_def


def _source(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
