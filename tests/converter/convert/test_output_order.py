"""Outputs keep the order and the names that their author gave them, whatever converters and quantizers do to them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import SilentProgress
from maas_converter.bench import measure
from maas_converter.bench.blobs import unpack
from maas_converter.cli import main
from maas_converter.importers.process import import_model
from maas_converter.importers.task import Importing
from maas_converter.split.split import GRAPH_FILE, SplitRequest, list_cuts, split
from maas_converter.tflite import model as files
from maas_converter.tflite.signature import with_signature
from tests.converter.tflite.graphs import Body, Op, tflite
from tests.once import once

_MAKE = """
import os
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
import tf_keras
from maas_converter.importers.keras import keras3 as new_importer, legacy as old_importer
from maas_converter.importers.tensorflow import saved_model as saved_importer
from maas_converter.importers.task import Importing, Task

folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
x = np.random.default_rng(1).uniform(-1, 1, (64, 4)).astype(np.float32)
answers = {"x": x}

def heads(library, count):
    inputs = library.Input((4,), name="x")
    hidden = library.layers.Dense(16, activation="relu")(inputs)
    offset = library.initializers.Constant
    return inputs, [library.layers.Dense(1, bias_initializer=offset(10.0 * n))(hidden) for n in range(count)]

def kept(name, model):
    made = model(x, training=False)
    made = made if isinstance(made, dict) else dict(zip(model.output_names, made))
    answers.update({f"{name}/{number}/{key}": value for number, (key, value) in enumerate(made.items())})

def imported(name, source, importer):
    (folder / f"{name}.tflite").write_bytes(importer.convert(Task(source, folder / "out", Importing())).tflite)

for name, library, importer in (("keras", keras, new_importer), ("tf_keras", tf_keras, old_importer)):
    inputs, outputs = heads(library, 12)
    model = library.Model(inputs, outputs)
    model.save(folder / f"{name}-list.keras")
    kept(f"{name}-list", model)
    imported(f"{name}-list", folder / f"{name}-list.keras", importer)
    inputs, outputs = heads(library, 3)
    model = library.Model(inputs, dict(zip(("zeta", "x", "mid:0"), outputs)))
    model.save(folder / f"{name}-dict.keras")
    kept(f"{name}-dict", model)
    imported(f"{name}-dict", folder / f"{name}-dict.keras", importer)

class Detector(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def serve(self, x):
        return {"scores_10": x[:, :1], "scores": tf.nn.sigmoid(x), "boxes": x * 640.0, "scores_9": x[:, :2] - 3.0}

detector = Detector()
tf.saved_model.save(detector, str(folder / "detector"), signatures={"serving_default": detector.serve})
made = detector.serve(x)
for number, key in enumerate(("boxes", "scores", "scores_9", "scores_10")):
    answers[f"detector/{number}/{key}"] = made[key]
imported("detector", folder / "detector", saved_importer)
inputs, outputs = heads(keras, 12)
model = keras.Model(inputs, outputs)
plain = tf.lite.TFLiteConverter.from_keras_model(model).convert()
(folder / "plain.tflite").write_bytes(plain)
kept("plain", model)
np.savez(folder / "answers.npz", **answers)
np.savez(folder / "data.npz", x=x)
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Models with their own answers, all made and imported by one process."""
    return once(tmp_path_factory, "output-order", _make)


def _make(folder: Path) -> None:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", _MAKE, str(folder)]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


def _expected(made: Path, model: str) -> dict[str, np.ndarray]:
    with np.load(made / "answers.npz") as answers:
        named = {key.split("/", 2)[2]: answers[key] for key in answers.files if key.startswith(f"{model}/")}
    return {f"output_{n}": value for n, value in enumerate(named.values())} if model == "plain" else named


def _packed(made: Path, source: Path, out: Path, *options: str) -> dict[str, np.ndarray]:
    arguments = ["convert", str(source), "--name", "heads", "--version", "1.0.0", "-o", str(out), "--json", *options]
    assert main.run([*arguments, "--evaluation", str(made / "data.npz")]) == 0
    samples = np.load(made / "data.npz")["x"]
    with open_bundle(out) as bundle:
        graph = measure.load_graph(bundle.manifest, unpack(bundle, out.parent))
        answers = [graph.run(sample) for sample in samples]
        names = [output.tensor.name for output in bundle.manifest.outputs]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in names}


def _check(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], share: float) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        reach = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, atol=share * reach, err_msg=name)


@pytest.mark.parametrize("model", ["keras-list", "keras-dict", "tf_keras-list", "tf_keras-dict", "detector", "plain"])
def test_a_bundle_answers_in_the_author_s_order_under_the_author_s_names(made, model, tmp_path, capsys):
    found = _packed(made, made / f"{model}.tflite", tmp_path / "heads.maas", "--quantize", "float32")
    _check(found, _expected(made, model), 1e-5)


@pytest.mark.parametrize("recipe", ["float16", "dynamic", "int8", "int8 --io uint8", "int8 --io float", "int16x8"])
def test_every_recipe_keeps_them(made, recipe, tmp_path, capsys):
    options = ["--quantize", *recipe.split(), "--allow-float"]
    if recipe.startswith("int"):
        options += ["--calibration", str(made / "data.npz")]
    found = _packed(made, made / "keras-list.tflite", tmp_path / "heads.maas", *options)
    _check(found, _expected(made, "keras-list"), 0.15)


@pytest.mark.parametrize("model", ["keras-list", "plain"])
def test_a_split_and_its_graph_keep_them(made, model, tmp_path, capsys):
    """The file of TensorFlow's own converter has its outputs in another order than its signature."""
    source = made / f"{model}.tflite"
    first = next(place for place in list_cuts(source).cuts)
    split(SplitRequest(source, (str(first.position),), tmp_path / "cut"), SilentProgress())
    found = _packed(made, tmp_path / "cut" / GRAPH_FILE, tmp_path / "heads.maas", "--quantize", "float32")
    _check(found, _expected(made, model), 1e-5)


def test_a_stage_s_outputs_are_those_of_the_signature_in_its_order(made, tmp_path, capsys):
    names = [f"head {number}" for number in range(12)]
    graph = tmp_path / "graph.toml"
    graph.write_text(
        f'[[stage]]\nname = "heads"\nmodel = "{made}/plain.tflite"\ninputs = ["x"]\noutputs = {names}\n'.replace(
            "'", '"'
        )
    )
    found = _packed(made, graph, tmp_path / "heads.maas", "--quantize", "float32")
    _check(found, dict(zip(names, _expected(made, "plain").values(), strict=True)), 1e-5)


def test_the_inputs_of_a_stage_are_those_of_the_signature_in_its_order(tmp_path):
    ops = (Op("TANH", ("b",), ("t",)), Op("ADD", ("t", "a"), ("y",)))
    model = files.parse(with_signature(tflite(Body(ops, ("b", "a"), ("y",)))))
    model.signatureDefs[0].inputs.sort(key=lambda entry: entry.name)
    (tmp_path / "two.tflite").write_bytes(files.serialize(model))
    imported = import_model(tmp_path / "two.tflite", tmp_path, Importing(several_inputs=True))
    (tmp_path / "imported.tflite").write_bytes(imported.tflite)
    loaded = accelerator("cpu").load(tmp_path / "imported.tflite", 1)
    a, b = (np.full(tensor.shape, value, np.float32) for tensor, value in zip(loaded.inputs, (5.0, 0.5), strict=True))
    np.testing.assert_allclose(loaded.run([a, b])[0], a + np.tanh(b), rtol=1e-6)
