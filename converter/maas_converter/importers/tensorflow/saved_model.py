"""SavedModel folders of TensorFlow 2 and 1 to float32 TFLite. A program, see `maas_converter.importers.task`.

A SavedModel is a graph and has no Python in it; but a graph may read and write files. So TensorFlow does not load it:
of the graph is taken what answers, if it only computes (`maas_converter.importers.tensorflow.serving`), and weights are
read as data (`maas_converter.importers.tensorflow.weights`).
"""

import re
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from maas_agent.errors import DataError, UnavailableError
from maas_converter.importers.asking import Array, Converted
from maas_converter.importers.inputs import fixed_shape, only_input, refuse_text
from maas_converter.importers.refusal import first_sentence, note
from maas_converter.importers.task import Task, run
from maas_converter.importers.tensorflow.answering import Answering
from maas_converter.importers.tensorflow.graphs import convert_graph, freeze
from maas_converter.importers.tensorflow.precision import coarsest_precision
from maas_converter.importers.tensorflow.serving import dtype_of, not_run, serving_part, shown
from maas_converter.importers.tensorflow.weights import places, weights

_DEFAULT = "serving_default"
_INITIALIZER = "__saved_model_init_op"
_SERVE = "serve"
_MOST_BYTES = (2 << 30) - 1
"""Of ``saved_model.pb``: what a protobuf can be."""


def convert(task: Task) -> Converted:
    """Load the folder ``task.source`` and convert one signature; raises a `MaasError`."""
    tensorflow = _library()
    meta = _meta_graph(task.source)
    signature = chosen_signature(meta.signature_def, task.options.signature)
    # (1) What comes in and what goes out.
    only_input(list(signature.inputs))
    ((name, info),) = signature.inputs.items()
    spec = _fixed_spec(tensorflow, name, info, task.options.input_shape)
    outputs = {key: _output(key, signature.outputs[key]) for key in sorted(signature.outputs, key=_with_numbers)}
    # (2) What that needs of the graph, if it only computes; the rest never gets into TensorFlow.
    graph = serving_part(tensorflow, meta, info, outputs.values(), trust=task.options.trust)
    served = _Served(tensorflow, task.source, graph, meta, info.name, list(outputs.values()))
    _tell_of_what_is_not_run(meta)
    # (3) Constants for variables, a batch of 1, TFLite.
    frozen = served.frozen(outputs)
    precision = coarsest_precision(frozen.graph)
    with tempfile.TemporaryDirectory() as folder:
        made = convert_graph(tensorflow, frozen, spec, info.name, outputs, folder)
    return Converted(made, served, precision)


class _Served:
    """The part of the SavedModel that answers, with its weights, run by TensorFlow."""

    def __init__(self, tensorflow: Any, source: Path, graph: Any, meta: Any, taken: str, made: list[str]) -> None:
        self._tensorflow, self._source, self._graph, self._taken, self._made = tensorflow, source, graph, taken, made
        self._places = places(meta.graph_def, meta.saver_def.restore_op_name)
        self._known = meta.meta_info_def.stripped_op_list

    def frozen(self, outputs: Mapping[str, str]) -> Answering:
        """Its graph with values for variables."""
        session, values = self._loaded()
        with session:
            return freeze(self._tensorflow, session, outputs, values)

    def __call__(self, inputs: list[Array]) -> list[Array]:
        taken = self._session.graph.get_tensor_by_name(self._taken)
        return list(self._session.run(self._made, {taken: inputs[0].astype(taken.dtype.as_numpy_dtype)}))

    @cached_property
    def _session(self) -> Any:
        return self._loaded()[0]

    def _loaded(self) -> tuple[Any, dict[str, Any]]:
        """A new session, and the values that its variables have got."""
        tensorflow = self._tensorflow
        values = weights(tensorflow, self._source, self._graph, self._places)
        session = tensorflow.compat.v1.Session(graph=tensorflow.Graph())
        try:
            with session.graph.as_default():
                tensorflow.graph_util.import_graph_def(self._graph, name="", producer_op_list=self._known)
                assigned = {name: _assign(tensorflow, session.graph, name, value) for name, value in values.items()}
            session.run(
                [op for op, _ in assigned.values()], {batch: values[name] for name, (_, batch) in assigned.items()}
            )
        except Exception as error:  # TensorFlow's own errors for damaged graphs, and Python's
            raise DataError(f"TensorFlow cannot load it, it is damaged or truncated: {first_sentence(error)}") from None
        return session, values


def _assign(tensorflow: Any, graph: Any, name: str, value: Any) -> tuple[Any, Any]:
    """An op that gives the variable at the node ``name`` a value, and the placeholder that takes it."""
    variable = graph.get_tensor_by_name(f"{name}:0")
    taken = tensorflow.compat.v1.placeholder(value.dtype, value.shape)
    if variable.dtype == tensorflow.resource:
        return tensorflow.raw_ops.AssignVariableOp(resource=variable, value=taken), taken
    return tensorflow.raw_ops.Assign(ref=variable, value=taken, validate_shape=False), taken


def chosen_signature(signatures: Mapping[str, Any], wanted: str | None) -> Any:
    """The signature to convert; raises `DataError` that lists those there are."""
    keys = sorted(key for key in signatures if key != _INITIALIZER and signatures[key].inputs)
    listed = ", ".join(keys)
    if not keys:
        raise DataError("it has no signature with an input: save it with signatures, or with model.export()")
    if wanted is not None:
        if wanted not in keys:
            raise DataError(f"it has no signature {wanted!r}; it has {listed}: choose one with --signature")
        return signatures[wanted]
    if len(keys) > 1 and _DEFAULT not in keys:
        raise DataError(f"it has several signatures, {listed}: choose one with --signature")
    key = _DEFAULT if _DEFAULT in keys else keys[0]
    if len(keys) > 1:
        note(f"signature {key!r} was taken; there are {listed}")
    return signatures[key]


def _with_numbers(key: str) -> list[tuple[str, int]]:
    """Orders keys by their letters, and numbers in them as numbers: a signature is a set, and has no order itself."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", key)]


def _library() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise UnavailableError(f"TensorFlow cannot be imported ({error}): pip install 'maas-edge[converter]'") from None
    return tensorflow


def _meta_graph(source: Path) -> Any:
    """The graph for serving, or the only one."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    graph = source / "saved_model.pb"
    if graph.stat().st_size > _MOST_BYTES:
        raise DataError("saved_model.pb in it has more than 2 GiB, which no graph can have: it is damaged")
    try:
        saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    except DecodeError as error:
        raise DataError(f"saved_model.pb in it is damaged or truncated ({error})") from None
    graphs = list(saved.meta_graphs)
    serving = [graph for graph in graphs if _SERVE in graph.meta_info_def.tags]
    if len(serving) != 1 and len(graphs) != 1:
        told = "; ".join(", ".join(graph.meta_info_def.tags) or "no tag" for graph in graphs) or "none"
        raise DataError(f"it has not one graph with the tag '{_SERVE}': its graphs are tagged {told}")
    return serving[0] if len(serving) == 1 else graphs[0]


def _tell_of_what_is_not_run(meta: Any) -> None:
    left = not_run(meta)
    if left:
        note(f"TensorFlow would run {', '.join(map(shown, left[:5]))} while it loads the model; that is not run here")


def _output(key: str, info: Any) -> str:
    if info.WhichOneof("encoding") != "name":
        raise DataError(f"its output {key!r} is no plain tensor: save it with dense outputs")
    return str(info.name)


def _fixed_spec(tensorflow: Any, name: str, info: Any, wanted: tuple[int, ...] | None) -> Any:
    if info.WhichOneof("encoding") != "name":
        raise DataError(f"its input {name!r} is no plain tensor: save it with a dense input")
    refuse_text(name, dtype_of(tensorflow, info.dtype))
    shape = None if info.tensor_shape.unknown_rank else [int(size.size) for size in info.tensor_shape.dim]
    return tensorflow.TensorSpec(fixed_shape(shape, wanted), dtype_of(tensorflow, info.dtype), name=name)


if __name__ == "__main__":
    run(convert)
