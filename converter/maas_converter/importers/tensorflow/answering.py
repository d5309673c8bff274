"""Traced and frozen graphs as what they answer: without what else they do, and in float32."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from maas_converter.importers.refusal import note
from maas_converter.importers.tensorflow.effects import rename_functions, without_effects, written_by
from maas_converter.importers.tensorflow.precision import in_float32, other_precisions
from maas_converter.importers.tensorflow.spelling import compare_signs

_AVERAGES = ("moving_mean", "moving_variance")


class Answering(msgspec.Struct, frozen=True):
    """A graph with what it takes from outside itself."""

    graph: Any
    """A ``GraphDef``. What holds a variable is a placeholder in it."""
    held: dict[str, Any]
    """For a placeholder's tensor the ``tf.Variable`` or the tensor that it stands for."""

    @property
    def variables(self) -> list[Any]:
        """The variables among them: whoever saves the graph has to keep them."""
        return [value for value in self.held.values() if hasattr(value, "handle")]

    def called(self, tensorflow: Any, taken: Mapping[str, Any], outputs: Iterable[str]) -> list[Any]:
        """The tensors ``outputs`` for tensors given in place of others, inside a function that is being traced."""
        capture = tensorflow.compat.v1.get_default_graph().capture
        held = {name: capture(getattr(value, "handle", value)) for name, value in self.held.items()}
        there = {node.name for node in self.graph.node}
        given = {name: value for name, value in {**held, **taken}.items() if name.partition(":")[0] in there}
        return list(
            tensorflow.graph_util.import_graph_def(self.graph, input_map=given, return_elements=list(outputs), name="")
        )


def answering_only(tensorflow: Any, concrete: Any, variables: list[Any]) -> tuple[Any, list[Any]]:
    """``concrete``, a traced function of one tensor, without what it does besides answering, and in float32.

    With it come the variables that it takes, ``variables`` or others. Raises `DataError` if it remembers something. One
    that has nothing to leave out is given back as it is.
    """
    graph = concrete.graph.as_graph_def()
    held = _captured(concrete)
    names = {name.partition(":")[0]: _plain(value) for name, value in held.items() if hasattr(value, "handle")}
    everything = [node.name for node in graph.node]
    written = written_by(graph, everything, names)
    if not compare_signs(graph) and not other_precisions(graph) and not written:
        return concrete, variables
    outputs = [tensor.name for tensor in concrete.outputs]
    without_effects(graph, outputs, names)
    rename_functions(graph)
    _tell_of_batches(written)
    answering = in_one_precision(tensorflow, Answering(graph, held))

    def served(batch: Any) -> Any:
        made = answering.called(tensorflow, {concrete.inputs[0].name: batch}, outputs)
        return tensorflow.nest.pack_sequence_as(concrete.structured_outputs, made)

    (spec,) = concrete.structured_input_signature[0]
    function = tensorflow.function(served, input_signature=[spec_in_float32(tensorflow, spec)])
    return function.get_concrete_function(), answering.variables


def in_one_precision(tensorflow: Any, answering: Answering) -> Answering:
    """The same in float32 where it computes in another floating type; changes the graph in place."""
    others = other_precisions(answering.graph)
    if not others:
        return answering
    in_float32(tensorflow, answering.graph)
    note(f"it computes in {' and '.join(others)} where it was made, and in float32 here")
    return Answering(answering.graph, {name: _as_float32(tensorflow, value) for name, value in answering.held.items()})


def spec_in_float32(tensorflow: Any, spec: Any) -> Any:
    """A ``TensorSpec`` of the same shape and name that is of no other floating type."""
    dtype = tensorflow.float32 if spec.dtype.is_floating else spec.dtype
    return tensorflow.TensorSpec(spec.shape, dtype, name=spec.name)


def _tell_of_batches(written: Iterable[str]) -> None:
    """Normalization that follows its batches keeps their averages, also where it answers by the batch at hand."""
    layers = sorted({name.rpartition("/")[0] for name in written if name.endswith(_AVERAGES)})
    if layers:
        note(
            f"{', '.join(layers)} normalizes by the batch at hand (training=True), which is one sample here: compare "
            "with predict(batch_size=1)"
        )


def _captured(concrete: Any) -> dict[str, Any]:
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    pairs = zip(concrete.graph.internal_captures, concrete.captured_inputs, strict=True)
    return {inner.name: variables.get(id(outer), outer) for inner, outer in pairs}


def _as_float32(tensorflow: Any, value: Any) -> Any:
    if not value.dtype.is_floating or value.dtype == tensorflow.float32:
        return value
    if hasattr(value, "handle"):
        return tensorflow.Variable(tensorflow.cast(value.value(), tensorflow.float32))
    return tensorflow.cast(value, tensorflow.float32)


def _plain(variable: Any) -> str:
    return str(variable.name).partition(":")[0]
