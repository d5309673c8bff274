"""A ``.tflite`` of a batch of several samples becomes one of a batch of 1, and open sizes what was asked for.

Its answers are compared with the framework's, and with LiteRT's own interpreter after ``resize_tensor_input``.
"""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from maas_agent.cli import main as agent
from maas_agent.errors import DataError
from maas_converter.cli import main
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of
from tests.converter.tflite.graphs import Body, Op, tflite

FIXED = [
    ("batch-of-8.tflite", None, "pixels", "flat", (1, 8, 8, 3)),
    ("fused-8.tflite", (8, 8), "steps", "fused", (1, 8, 8)),
    ("any-picture.tflite", (12, 10, 3), "pictures", "pooled", (1, 12, 10, 3)),
    ("any-pictures.tflite", (12, 10, 3), "pictures", "pooled", (1, 12, 10, 3)),
    ("waveform.tflite", (64,), "waves", "sound", (64,)),
    ("waveform", (64,), "waves", "sound", (64,)),
    ("waveform.keras", (64,), "waves", "heard", (64,)),
]


@pytest.mark.parametrize(("name", "wanted", "given", "made", "shape"), FIXED)
def test_each_sample_gets_its_framework_s_answer(models, bring, name, wanted, given, made, shape):
    known = np.load(models / "sizes.npz")
    imported = bring(models / name, input_shape=wanted)
    contents = contents_of(imported.tflite)
    assert contents.inputs[0].shape == shape
    assert not [tensor for tensor in contents.graphs[0].tensors if -1 in tensor.shape]
    found = [run(imported.tflite, sample.reshape(shape)) for sample in known[given]]
    np.testing.assert_allclose(np.reshape(found, known[made].shape), known[made], atol=1e-5)
    if name.endswith(".tflite"):
        itself = (models / name).read_bytes()
        taken = contents_of(itself).inputs[0].shape[0]
        runs = [known[given]] if taken == 8 else [sample.reshape(shape) for sample in known[given]]
        resized = np.reshape([run(itself, values) for values in runs], known[made].shape)
        np.testing.assert_allclose(np.reshape(found, known[made].shape), resized, atol=1e-6)


@pytest.mark.parametrize("name", ["waveform.tflite", "waveform", "waveform.keras"])
def test_a_waveform_of_any_length_is_refused_with_what_to_type(models, bring, name):
    with pytest.raises(DataError, match=r"has one size, which is open, and no batch.*such as --input-shape 15600"):
        bring(models / name)


def test_that_a_batch_was_changed_is_told(models, bring):
    assert bring(models / "batch-of-8.tflite").notes == (
        "its batch of 8 samples was made a batch of 1; the answers to a sample are the same",
    )


SHAPE = (8, 2, 2, 3)
MIXING = Body(
    (Op("MEAN", ("x", "axis"), ("mean",), options={"keepDims": True}), Op("SUB", ("x", "mean"), ("y",))),
    ("x",),
    ("y",),
    {"axis": np.array([0], np.int32)},
    {"x": SHAPE, "mean": (1, 2, 2, 3), "y": SHAPE},
)
STORED = Body(
    (Op("ADD", ("x", "each"), ("y",)),),
    ("x",),
    ("y",),
    {"each": np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)},
    {"x": SHAPE, "y": SHAPE},
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [(MIXING, "an answer depends on the other samples of its batch"), (STORED, r"\[8, 2, 2, 3\], has")],
)
def test_a_batch_whose_samples_are_not_apart_is_refused(bring, tmp_path, body, reason):
    (tmp_path / "mixed.tflite").write_bytes(tflite(body))
    words = rf"its input 'x', \[8, 2, 2, 3\], cannot be made \[1, 2, 2, 3\] in the file: its output 'y'.*{reason}"
    with pytest.raises(DataError, match=words):
        bring(tmp_path / "mixed.tflite")


def test_an_open_size_that_the_graph_does_not_allow_is_refused_with_litert_s_words(bring, tmp_path):
    shape = np.array([1, 12], np.int32)
    body = Body(
        (Op("RESHAPE", ("x", "shape"), ("y",)),), ("x",), ("y",), {"shape": shape}, {"x": (1, 4, 3), "y": (1, 12)}
    )
    model = files.parse(tflite(body))
    model.subgraphs[0].tensors[0].shapeSignature = [1, -1, 3]
    (tmp_path / "open.tflite").write_bytes(files.serialize(model))
    with pytest.raises(DataError, match=r"cannot be made \[1, 5, 3\] in the file: LiteRT cannot run it so: .*RESHAPE"):
        bring(tmp_path / "open.tflite", input_shape=(5, 3))
    assert contents_of(bring(tmp_path / "open.tflite", input_shape=(4, 3)).tflite).inputs[0].shape == (1, 4, 3)


def test_an_input_without_a_batch_goes_from_the_file_to_the_device(tmp_path, capsys):
    """[100] is one sample of 100 values: what ``infer`` answers is what LiteRT answers."""
    weights = np.random.default_rng(1).standard_normal((3, 100)).astype(np.float32)
    body = Body(
        (Op("RESHAPE", ("x", "row"), ("one",)), Op("FULLY_CONNECTED", ("one", "weights", "bias"), ("y",))),
        ("x",),
        ("y",),
        {"row": np.array([1, 100], np.int32), "weights": weights, "bias": np.zeros(3, np.float32)},
        {"x": (100,), "one": (1, 100), "y": (1, 3)},
    )
    (tmp_path / "row.tflite").write_bytes(tflite(body))
    made = ["--name", "row", "--version", "1.0.0", "--quantize", "float32", "-o", str(tmp_path / "row.maas")]
    assert main.run(["convert", str(tmp_path / "row.tflite"), *made, "--json"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    sample = np.random.default_rng(2).standard_normal(100).astype(np.float32)
    (tmp_path / "sample.json").write_text(json.dumps(sample.tolist()))
    assert agent(["infer", str(tmp_path / "row.maas"), str(tmp_path / "sample.json"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(
        answer["result"]["values"], run((tmp_path / "row.tflite").read_bytes(), sample), rtol=1e-5
    )


def run(data, values):
    """What LiteRT's own interpreter answers to one whole input, resized to it."""
    interpreter = Interpreter(model_content=data)
    (taken,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(taken["index"], values.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
