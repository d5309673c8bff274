"""SavedModel folders of TensorFlow 2 and 1 to float32 TFLite. A program, see `maas_converter.importers.task`.

A SavedModel is a graph and has no Python in it; but a graph may read and write files, and TensorFlow runs its
initializers while loading. Such ops are looked for first.
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

_DEFAULT = "serving_default"
_INITIALIZER = "__saved_model_init_op"
_SERVE = "serve"
# The first three are those that TensorFlow's own `saved_model_cli scan` warns of.
_REACHING_OUT = {"ReadFile", "WriteFile", "PrintV2", "PyFunc", "PyFuncStateless", "EagerPyFunc"}
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}


def convert(task: Task) -> Converted:
    """Load the folder ``task.source`` and convert one signature; raises a `MaasError`."""
    tensorflow = _library()
    meta = _meta_graph(task.source)
    # (1) Before TensorFlow loads it: loading runs its initializers.
    _refuse_reaching_out(meta, trust=task.options.trust)
    _check_variables(task.source, meta)
    signature = chosen_signature(meta.signature_def, task.options.signature)
    # (2) What comes in and what goes out.
    only_input(list(signature.inputs))
    ((name, info),) = signature.inputs.items()
    spec = _fixed_spec(tensorflow, name, info, task.options.input_shape)
    outputs = {key: signature.outputs[key].name for key in sorted(signature.outputs, key=_with_numbers)}
    # (3) Constants for variables, a batch of 1, TFLite.
    frozen = _frozen(tensorflow, task.source, list(meta.meta_info_def.tags), outputs)
    precision = coarsest_precision(frozen.graph)
    with tempfile.TemporaryDirectory() as folder:
        made = convert_graph(tensorflow, frozen, spec, info.name, outputs, folder)
    tags = list(meta.meta_info_def.tags)
    return Converted(made, _Served(tensorflow, task.source, tags, info.name, list(outputs.values())), precision)


class _Served:
    """The SavedModel as it is, run by TensorFlow; loaded when it is asked for the first time."""

    def __init__(self, tensorflow: Any, source: Path, tags: list[str], taken: str, made: list[str]) -> None:
        self._v1, self._source, self._tags = tensorflow.compat.v1, source, tags
        self._graph, self._taken, self._made = tensorflow.Graph(), taken, made

    @cached_property
    def _session(self) -> Any:
        session = self._v1.Session(graph=self._graph)
        with self._graph.as_default():
            self._v1.saved_model.load(session, self._tags, str(self._source))
        return session

    def __call__(self, inputs: list[Array]) -> list[Array]:
        taken = self._session.graph.get_tensor_by_name(self._taken)
        return list(self._session.run(self._made, {taken: inputs[0].astype(taken.dtype.as_numpy_dtype)}))


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

    try:
        saved = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise DataError(f"saved_model.pb in it is damaged or truncated ({error})") from None
    graphs = list(saved.meta_graphs)
    serving = [graph for graph in graphs if _SERVE in graph.meta_info_def.tags]
    if len(serving) != 1 and len(graphs) != 1:
        told = "; ".join(", ".join(graph.meta_info_def.tags) or "no tag" for graph in graphs) or "none"
        raise DataError(f"it has not one graph with the tag '{_SERVE}': its graphs are tagged {told}")
    return serving[0] if len(serving) == 1 else graphs[0]


def _ops(meta: Any) -> set[str]:
    ops = {node.op for node in meta.graph_def.node}
    return ops.union(*({node.op for node in function.node_def} for function in meta.graph_def.library.function))


def _refuse_reaching_out(meta: Any, *, trust: bool) -> None:
    found = sorted(_ops(meta) & _REACHING_OUT)
    if found and not trust:
        raise DataError(
            f"its graph reads or writes files, prints or calls Python ({', '.join(found)}): allow that with --trust "
            "if you know who wrote it"
        )


def _check_variables(source: Path, meta: Any) -> None:
    if _ops(meta) & _VARIABLES and not (source / "variables" / "variables.index").is_file():
        raise DataError(
            "its weights are missing: there is no file variables/variables.index in it; copy the whole folder"
        )


def _fixed_spec(tensorflow: Any, name: str, info: Any, wanted: tuple[int, ...] | None) -> Any:
    if info.WhichOneof("encoding") != "name":
        raise DataError(f"its input {name!r} is no plain tensor: save it with a dense input")
    refuse_text(name, tensorflow.as_dtype(info.dtype))
    shape = None if info.tensor_shape.unknown_rank else [int(size.size) for size in info.tensor_shape.dim]
    return tensorflow.TensorSpec(fixed_shape(shape, wanted), tensorflow.as_dtype(info.dtype), name=name)


def _frozen(tensorflow: Any, source: Path, tags: list[str], outputs: Mapping[str, str]) -> Answering:
    v1 = tensorflow.compat.v1
    with v1.Session(graph=tensorflow.Graph()) as session:
        try:
            v1.saved_model.load(session, tags, str(source))
        except Exception as error:  # TensorFlow's own errors for damaged checkpoints, and Python's for damaged graphs
            raise DataError(f"TensorFlow cannot load it, it is damaged or truncated: {first_sentence(error)}") from None
        return freeze(tensorflow, session, outputs)


if __name__ == "__main__":
    run(convert)
