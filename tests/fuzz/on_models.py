"""Model files from anywhere, as far as they are read without a framework: what they name decides what one may run."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from maas_agent.base.untrusted import read_member
from maas_agent.errors import DataError, NoInputError
from maas_converter.importers.digest import digest_of
from maas_converter.importers.keras.configuration import older_keras, refuse_code
from maas_converter.importers.table import importer_for
from tests.fuzz.registry import emptied, scratch, target

_REACHING = {"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer", "ResidualWrapper"}
_WRITING = ("io.", "py_function", "numpy_function", "print", "load_op", "raw_ops", "saved_model", "data.", "system")


def _layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    named = {} if module is None else {"module": module}
    return {**named, "class_name": kind, "config": {"name": kind.lower(), **config}, "registered_name": None}


def _configurations() -> list[dict[str, Any]]:
    """Good ones, and ones that reach for something: edits turn either into what nobody has thought of."""
    function = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    dense = _layer("Dense", units=2, activation="relu", dtype=policy, kernel_initializer=_layer("GlorotUniform", None))
    inner = _layer("Sequential", "keras.models", layers=[dense, _layer("Activation", activation=function)])
    called = _layer("TFOpLambda", None, function="math.add")
    written = {**_layer("TFOpLambda", None, function="io.write_file"), "inbound_nodes": [["_CONSTANT_VALUE", -1, "/x"]]}
    raw = _layer("TensorFlowOpLayer", None, node_def={"name": "a", "op": "AddV2"}, constants={"1": 0.5})
    spec = {
        "class_name": "__typespec__",
        "spec_name": "TensorSpec",
        "module": "tensorflow.python.framework.tensor_spec",
    }
    words = _layer("StringLookup", vocabulary=["a", "b"])
    lambda_ = _layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEAAA=="}})
    foreign = _layer("Popen", "subprocess", args=["sh"])
    models = [[dense], [inner, called], [raw, spec, words], [written], [lambda_], [foreign]]
    return [_layer("Functional", "keras", layers=layers) | {"keras_version": "2.15.0"} for layers in models]


def _refuses_what_reaches(path: Path) -> None:
    """What passes names nothing that does more than compute, told in another way than by the lists of the importer."""
    refuse_code(path, trust=False)
    configuration = json.loads(_text(path))
    for entry in _walked(configuration):
        kind, inner = entry.get("class_name"), entry.get("config")
        assert kind not in _REACHING, f"{kind} has passed"
        module = entry.get("module")
        keras = isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras", "builtins")
        assert module is None or keras or kind == "__typespec__", f"the module {module!r} has passed"
        called = inner.get("function") if isinstance(inner, dict) and kind == "TFOpLambda" else ""
        assert not any(part in str(called) for part in _WRITING), f"{called} has passed"


def _walked(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
        left.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())


def _text(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return read_member(archive, "config.json", 1 << 28)


@target(
    "model.configuration",
    "what the configuration of a Keras model names, in a .keras file",
    lambda: [json.dumps(each).encode() for each in _configurations()],
    DataError,
    form="json",
    words=(b"Lambda", b"__lambda__", b"io.write_file", b"builtins", b"os", b"subprocess", b"\\u004cambda"),
)
def configuration(data: bytes) -> None:
    path = scratch() / "configured.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", data)
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
    assert importer_for(path).title == "Keras 3"
    _refuses_what_reaches(path)


def _archives() -> list[bytes]:
    found = []
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = [1.0, 2.0]
    for each in _configurations()[:2]:
        for version in ("2.15.0", "3.9.0"):
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("config.json", json.dumps(each))
                archive.writestr("metadata.json", json.dumps({"keras_version": version}))
                archive.writestr("model.weights.h5", weights.getvalue())
            found.append(made.getvalue())
    return found


@target(
    "model.keras",
    "a .keras file, from what it is to what it names",
    _archives,
    DataError,
    form="zip",
    words=(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"config.json", b"metadata.json"),
    share=0.5,
)
def keras(data: bytes) -> None:
    path = emptied("keras") / "model.keras"
    path.write_bytes(data)
    importer_for(path)
    if not data.startswith(b"\x89HDF"):
        _refuses_what_reaches(path)
    digest_of(path)


@target(
    "model.hdf5",
    "model_config and keras_version of an .h5 file",
    lambda: [b"\0" + json.dumps(each).encode() for each in _configurations()] + [b"\1\0", b"\2[1]", b"\3x"],
    DataError,
    form="1+json",
    share=0.3,
)
def hdf5(data: bytes) -> None:
    import h5py

    path = emptied("hdf5") / "model.h5"
    how, text = (data[0] if data else 0) % 5, data[1:50_000]
    with h5py.File(path, "w") as file:
        match how:
            case 0:
                file.attrs["model_config"] = text.replace(b"\0", b"0")
            case 1:
                file.attrs["model_config"] = list(text[:100]) or [0]
            case 2:
                file.attrs["model_config"] = text.decode("utf-8", "replace").replace("\0", "0")
            case 3:
                file.attrs["keras_version"] = list(text[:50]) or [0]
                file.create_group("layer_names")
            case _:
                file.attrs["keras_version"] = text.replace(b"\0", b"0")[:1000]
    importer_for(path)
    version = older_keras(path)
    assert version is None or version.startswith(("1.", "2."))
    refuse_code(path, trust=False)


_SUFFIXES = (".keras", ".h5", ".tflite", ".pb", ".onnx", ".pt", ".pkl", ".xml", ".json", ".zip", ".mar", "")


@lru_cache(maxsize=1)
def _files() -> list[bytes]:
    from tests.models import tiny_classifier_tflite

    xml, trees = b"<?xml version='1.0'?><net name='a'>", b'{"learner": {"gradient_booster": {}}}'
    pickled, torch = b"\x80\x04\x95\x10\0\0\0\0\0\0\0", b"PK\x03\x04" + b"archive/data.pkl"
    onnx, graph = b"\x08\x07\x12\x07pytorch", b"\n\x10\n\x01x\x12\x0bPlaceholder"
    heads = (tiny_classifier_tflite()[:4000], xml, trees, pickled, torch, onnx, graph, *_archives())
    return [bytes((at % len(_SUFFIXES),)) + each for at, each in enumerate(heads)]


@target(
    "model.any",
    "a file that is said to be a model, until it is known what it is",
    _files,
    DataError,
    NoInputError,
    words=(b"PK\3\4", b"PK\5\6", b"TFL3", b"\x89HDF\r\n\x1a\n", b"\x80\x04", b"<net", b'{"', b"\xef\xbb\xbf"),
)
def any_file(data: bytes) -> None:
    suffix = _SUFFIXES[(data[0] if data else 0) % len(_SUFFIXES)]
    path = scratch() / f"some{suffix}"
    path.write_bytes(data[1:])
    importer_for(path)


# ----------------------------------------------------------------- SavedModels: TensorFlow is there, and runs nothing


@lru_cache(maxsize=1)
def _saved_models() -> list[bytes]:
    """Graphs as they are saved: with functions, variables and initializers, and with an op that writes a file."""
    import tensorflow
    from tensorflow.core.protobuf import saved_model_pb2

    def saved(writes: bool) -> bytes:
        folder = emptied("saving")
        module = tensorflow.Module()
        module.weight = tensorflow.Variable([[1.0, 2.0]])

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 1], tensorflow.float32, "x")])
        def answer(x: Any) -> Any:
            if writes:
                tensorflow.io.write_file(str(folder / "written"), "x")
            return {"y": tensorflow.nn.relu(x @ module.weight)}

        tensorflow.saved_model.save(module, str(folder), signatures={"serving_default": answer})
        found = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        found.meta_graphs[0].ClearField("object_graph_def")
        return bytes(found.SerializeToString())

    return [saved(False), saved(True)]


@target(
    "model.saved_model",
    "saved_model.pb, up to the part of its graph that would be run",
    _saved_models,
    DataError,
    form="proto",
    share=0.1,
)
def saved_model(data: bytes) -> None:
    import tensorflow

    from maas_converter.importers.inputs import only_input
    from maas_converter.importers.tensorflow import saved_model as importer
    from maas_converter.importers.tensorflow.effects import bodies
    from maas_converter.importers.tensorflow.serving import not_run, serving_part
    from maas_converter.importers.tensorflow.weights import places

    folder = emptied("saved")
    (folder / "saved_model.pb").write_bytes(data)
    assert not data or importer_for(folder).title == "SavedModel"
    with redirect_stderr(io.StringIO()):  # notes for the converter
        meta = importer._meta_graph(folder)
        signature = importer.chosen_signature(meta.signature_def, None)
    only_input(list(signature.inputs))
    ((name, info),) = signature.inputs.items()
    importer._fixed_spec(tensorflow, name, info, None)
    outputs = {key: importer._output(key, signature.outputs[key]) for key in signature.outputs}
    graph = serving_part(tensorflow, meta, info, outputs.values(), trust=False)
    not_run(meta)
    places(graph, meta.saver_def.restore_op_name)
    defined = {function.signature.name for function in graph.library.function}
    ops = {node.op for nodes in bodies(graph) for node in nodes} - defined
    assert not [op for op in ops if re.search("File|Save|Py|Print|Dataset|Send|Recv|Summary|Rpc", op)], ops
