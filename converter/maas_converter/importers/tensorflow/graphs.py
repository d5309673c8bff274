"""TensorFlow graphs with every variable frozen (``GraphDef``), made to take one sample at a time."""

from collections.abc import Mapping
from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.refusal import Passed, first_sentence
from maas_converter.importers.tensorflow.answering import Answering, in_one_precision, spec_in_float32
from maas_converter.importers.tensorflow.conversion import save, to_tflite
from maas_converter.importers.tensorflow.effects import bodies, calls, rename_functions, without_effects
from maas_converter.importers.tensorflow.outputs import keyed
from maas_converter.importers.tensorflow.serving import shown
from maas_converter.importers.tensorflow.spelling import compare_signs
from maas_converter.importers.tensorflow.weights import VARIABLES
from maas_converter.tflite.signature import with_outputs

_VARIABLE = "VarHandleOp"
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


def freeze(tensorflow: Any, session: Any, outputs: Mapping[str, str], values: Mapping[str, Any]) -> Answering:
    """The part of the session's graph that ``outputs`` (name: tensor) need, with the ``values`` of its variables.

    Raises `DataError` if it remembers something, or a variable has no value; `Passed` if TensorFlow cannot freeze it.
    """
    graph = session.graph.as_graph_def()
    without_effects(graph, outputs.values(), {node.name: node.name for node in graph.node if node.op == _VARIABLE})
    missing = [node.name for node in graph.node if node.op in VARIABLES and node.name not in values]
    if missing:
        raise DataError(
            f"its variable {shown(missing[0])!r} has no value in variables/variables.*: TensorFlow would fill it in "
            "while it loads the model, which is not done here; save the model with all of its variables"
        )
    handles = [node.name for node in graph.node if node.op == _VARIABLE]
    nodes = [tensor.partition(":")[0] for tensor in outputs.values()]
    try:
        # Those of TensorFlow 1, which no function can take, become constants.
        graph = tensorflow.compat.v1.graph_util.convert_variables_to_constants(
            session, graph, nodes, variable_names_blacklist=handles
        )
    except Exception as error:  # TensorFlow's errors, and Python's own
        raise Passed(f"its variables cannot be made constants: {first_sentence(error)}") from None
    for node in graph.node:
        if node.name in handles:
            _become_placeholder(tensorflow, node)
    return Answering(graph, {f"{name}:0": values[name] for name in handles})


def take_one_sample(tensorflow: Any, graph: Any) -> None:
    """Remove from ``graph`` what was noted for an open batch, so that shapes are inferred anew for a batch of 1."""
    _drop_unused_functions(graph)
    rename_functions(graph)
    for function in graph.library.function:
        # Names a kernel of tf-keras, which TFLite takes for its own with a lasting state, see `recurrent`.
        function.attr.pop("api_implements", None)
    for nodes in bodies(graph):
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            node.attr.pop("_output_shapes", None)
            if node.op in _ELEMENT_SHAPE:
                _fix_constant(tensorflow, constants.get(_source(node.input[_ELEMENT_SHAPE[node.op]])))


def convert_graph(
    tensorflow: Any, frozen: Answering, taken: Any, tensor: str, outputs: Mapping[str, str], folder: str
) -> bytes:
    """Convert a ``frozen`` graph whose input ``tensor`` becomes ``taken``, a named and fixed ``TensorSpec``.

    Its outputs are those that ``outputs`` maps to tensors, by name and in that order.
    """
    take_one_sample(tensorflow, frozen.graph)
    compare_signs(frozen.graph)
    values = {name: tensorflow.Variable(value) for name, value in frozen.held.items()}
    answering = in_one_precision(tensorflow, Answering(frozen.graph, values))

    def serve(batch: Any) -> dict[str, Any]:
        return keyed(answering.called(tensorflow, {tensor: batch}, outputs.values()))

    try:
        served = tensorflow.function(serve, input_signature=[spec_in_float32(tensorflow, taken)])
        holder = tensorflow.Module()
        holder.kept = answering.variables
        holder.served = served.get_concrete_function()
        save(tensorflow, holder, folder)
    except Exception as error:  # a shape that does not suit an op
        raise Passed(f"it cannot be run on an input of shape {list(taken.shape)}: {first_sentence(error)}") from None
    made = to_tflite(
        tensorflow, lambda: tensorflow.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    )
    return with_outputs(made, list(outputs), list(keyed(list(outputs))))


def _drop_unused_functions(graph: Any) -> None:
    """Those that the frozen graph calls no more may call others that freezing has removed."""
    known = {function.signature.name: function for function in graph.library.function}
    called: set[str] = set()
    left = [name for node in graph.node for name in calls(node)]
    while left:
        name = left.pop()
        if name in known and name not in called:
            called.add(name)
            left.extend(inner for node in known[name].node_def for inner in calls(node))
    unused = [name for name in known if name not in called]
    for name in unused:
        graph.library.function.remove(known[name])


def _fix_constant(tensorflow: Any, node: Any) -> None:
    if node is None:
        return
    shape = tensorflow.make_ndarray(node.attr["value"].tensor).copy()
    if shape.ndim == 1 and shape.size > 0 and shape[0] == -1:
        shape[0] = 1
        node.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(shape))


def _become_placeholder(tensorflow: Any, node: Any) -> None:
    node.op = "Placeholder"
    node.attr.clear()
    node.attr["dtype"].type = tensorflow.resource.as_datatype_enum
    node.attr["shape"].shape.SetInParent()


def _source(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
