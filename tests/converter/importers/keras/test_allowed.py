"""What a Keras file names is looked at before anything could be called."""

import json
import zipfile

import h5py
import pytest

from maas_agent.errors import DataError
from maas_converter.importers.keras.allowed import FUNCTIONS, refuse_reach
from maas_converter.importers.keras.configuration import refuse_code


def layer(kind, module="keras.layers", **config):
    """One layer of a model."""
    return {"module": module, "class_name": kind, "config": {"name": "innocent", **config}, "registered_name": None}


def model(*layers):
    """A model of layers, nested as Keras nests them."""
    inner = {"module": "keras", "class_name": "Sequential", "config": {"name": "inner", "layers": list(layers)}}
    return {"class_name": "Functional", "module": "keras.src.models.functional", "config": {"layers": [inner]}}


def raw(op):
    """A ``NodeDef`` as bytes that a JSON text holds: name, op, an input."""
    fields = ((1, "n"), (2, op), (3, "x"))
    return "".join(f"{chr(number << 3 | 2)}{chr(len(text))}{text}" for number, text in fields)


REACHING = {
    "a function that writes files": (layer("TFOpLambda", function="io.write_file"), "calls TensorFlow's io.write_file"),
    "the same by its old name": (layer("TFOpLambda", function="compat.v1.write_file"), "compat.v1.write_file"),
    "a function that calls Python": (layer("TFOpLambda", function="py_function"), "py_function"),
    "a raw op": (layer("SlicingOpLambda", function="raw_ops.WriteFile"), "raw_ops.WriteFile"),
    "no function": (layer("TFOpLambda"), "calls TensorFlow's None"),
    "an op that writes files": (layer("TensorFlowOpLayer", node_def={"op": "WriteFile"}), "op WriteFile"),
    "the same as bytes": (layer("TensorFlowOpLayer", node_def=raw("WriteFile")), "op WriteFile"),
    "an op named twice": (layer("TensorFlowOpLayer", node_def=raw("Mul") + raw("WriteFile")), "op WriteFile"),
    "no op": (layer("TensorFlowOpLayer", node_def="\x0a\x7f"), "op an unreadable one"),
    "a module of somebody": (layer("Layer", module="os"), r"module 'os', which is no part of Keras.*--custom FILE\.py"),
    "a module that looks it": (layer("Layer", module="keras_evil.layers"), "module 'keras_evil.layers'"),
    "a module of Keras that is no family": (layer("get_file", module="keras.utils"), "module 'keras.utils'"),
    "a module that is none": (layer("Layer", module=["keras"]), "no part of Keras"),
    "a path in a name": (layer("x.y"), "which is no name"),
    "a method": (layer("ClassMethod", cls_symbol="io.gfile.GFile"), "calls a method of a TensorFlow class"),
    "a pickle": (layer("TorchModuleWrapper", module="keras.layers"), "pickled PyTorch module"),
    "another model": (layer("TFSMLayer", filepath="/etc"), "loads another model"),
    "code around a cell": (
        layer("StackedRNNCells", residual_fn_type="lambda", residual_fn="4wEAAA=="),
        "runs Python code",
    ),
    "a file of words": (layer("StringLookup", vocabulary="/etc/passwd"), "reads the file '/etc/passwd'"),
    "a function of Python": (
        layer("Dense", activation={"module": "builtins", "class_name": "function", "config": "exec"}),
        "Python's own function 'exec'",
    ),
    "a function of another module": (
        layer("Dense", activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}),
        "module 'keras.utils'",
    ),
    "a function by a path": (
        layer("Dense", activation={"module": "keras.layers", "class_name": "function", "config": "os.system"}),
        "names a function 'os.system', which is no name",
    ),
    "a layer under another's name": (
        {**layer("Innocent", module="tf_keras.src.layers.core.tf_op_layer"), "registered_name": "TFOpLambda"},
        r"registered as 'TFOpLambda', which is another.*--custom FILE\.py",
    ),
    "the same by a package": (
        {**layer("Innocent", module="tf_keras.src.layers.core.lambda_layer"), "registered_name": "p>Lambda"},
        "registered as 'p>Lambda'",
    ),
    "a feature column of a file": (
        layer(
            "DenseFeatures",
            feature_columns=[{"class_name": "VocabularyFileCategoricalColumn", "config": {"vocabulary_file": "/a"}}],
        ),
        "reads the file '/a'",
    ),
    "a file somewhere": (layer("Dense", extra={"deeper": [{"filepath": "/etc/passwd"}]}), "reads the file '/etc"),
    "a name that leads elsewhere": (layer("StringLookup", name="../../../etc"), "leads to another folder"),
    "a type under another's name": (
        layer(
            "Dense",
            shape={
                "class_name": "__typespec__",
                "spec_name": "TensorSpec",
                "module": "tensorflow.python.framework.tensor",
                "registered_name": "ops",
            },
        ),
        "type 'TensorSpec' of 'tensorflow",
    ),
    "a type of another module": (
        layer("Dense", shape={"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess"}),
        "type 'Popen' of 'subprocess'",
    ),
}


@pytest.mark.parametrize("what", REACHING)
def test_what_does_more_than_compute_is_refused_by_its_name(what):
    entry, words = REACHING[what]
    with pytest.raises(DataError, match=words):
        refuse_reach(model(layer("Dense"), entry))


COMPUTING = {
    "layers of every Keras": [
        layer("Dense", module=module)
        for module in (
            "keras.layers",
            "keras.src.layers.core.dense",
            "tf_keras.layers",
            "tf_keras.src.engine.base_layer",
        )
    ],
    "operations": [layer("Add", module="keras.src.ops.numpy"), layer("Functional", module="keras")],
    "functions": [layer("TFOpLambda", function=name) for name in ("math.multiply", "compat.v1.transpose", "nn.relu")],
    "slices": [layer("SlicingOpLambda", function="__operators__.getitem")],
    "ops": [layer("TensorFlowOpLayer", node_def={"op": "Mul"}), layer("TensorFlowOpLayer", node_def=raw("AddV2"))],
    "an activation": [layer("Dense", activation={"module": "builtins", "class_name": "function", "config": "relu"})],
    "words": [layer("IntegerLookup", vocabulary=[1, 2])],
    "a policy": [{"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}],
    "a legacy layer of one's own, which tf-keras will not find": [{"class_name": "Mine", "config": {}}],
    "what somebody has registered, which Keras will not find": [
        {**layer("Mine", module=None), "registered_name": "Custom>Mine"},
        {"class_name": "Custom>Mine", "config": {"name": "block1/mine"}},
        layer("Dense", activation={"module": None, "class_name": "function", "config": "Custom>mine"}),
    ],
    "a function of Keras 2": [
        layer(
            "Dense",
            activation={
                "module": "builtins",
                "class_name": "function",
                "config": "relu",
                "registered_name": "function",
            },
        )
    ],
}


@pytest.mark.parametrize("what", COMPUTING)
def test_what_computes_is_left_alone(what):
    refuse_reach(model(*COMPUTING[what]))


def test_how_a_model_was_trained_is_not_loaded_and_not_asked():
    refuse_reach({**model(layer("Dense")), "compile_config": {"loss": layer("Loss", module="mine")}})
    with pytest.raises(DataError, match="module 'mine'"):
        refuse_reach(model({**layer("Dense"), "compile_config": {"loss": layer("Loss", module="mine")}}))


def test_no_function_of_the_list_reaches_further():
    words = ("file", "py_", "print", "save", "load", "import", "map_fn", "while", "eval", "set_", "function", "assert")
    assert not [name for name in FUNCTIONS if name != "linalg.set_diag" and any(word in name for word in words)]


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_a_file_that_would_overwrite_another_while_it_is_loaded(kind, tmp_path, bring):
    """The function and its arguments are constants of the configuration: loading the model calls it."""
    mark = tmp_path / "overwritten"
    written = {"name": "w", "class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}}
    written["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "x", "name": None}]]
    text = json.dumps(model(written))
    source = tmp_path / f"evil.{kind}"
    if kind == "h5":
        with h5py.File(source, "w") as file:
            file.attrs["model_config"] = text
    else:
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("config.json", text)
            archive.writestr("metadata.json", '{"keras_version": "2.15.0"}')
    with pytest.raises(DataError, match=rf"evil\.{kind}: its layer 'w' calls TensorFlow's io\.write_file.*--trust"):
        bring(source)
    assert not mark.exists()
    refuse_code(source, trust=True)
