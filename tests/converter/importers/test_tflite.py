"""A ``.tflite`` file needs no TensorFlow: it is checked, completed and packed as it is."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from maas_agent.bundle.archive import open_bundle
from maas_agent.errors import DataError
from maas_converter.bench import measure
from maas_converter.bench.blobs import unpack
from maas_converter.cli import main
from maas_converter.importers.process import import_model
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.extract import extract
from tests.converter.importers.conftest import SHARED
from tests.converter.tflite.graphs import Body, Op, tflite
from tests.once import once

needs_detector = pytest.mark.skipif(not (SHARED / "detection").is_dir(), reason="no ../shared/data")


@pytest.fixture(scope="module")
def dense(models, tmp_path_factory):
    """A float model: (1, 8, 8) to (1, 8, 3)."""

    def import_it(folder):
        (folder / "dense.tflite").write_bytes(import_model(models / "dense.keras", folder).tflite)

    return (once(tmp_path_factory, "importers-dense", import_it) / "dense.tflite").read_bytes()


@pytest.fixture
def given(dense, tmp_path):
    """The file after ``change`` has been at work on it."""

    def make(change):
        model = files.parse(dense)
        change(model)
        (tmp_path / "given.tflite").write_bytes(files.serialize(model))
        return tmp_path / "given.tflite"

    return make


def test_a_complete_file_is_taken_byte_for_byte(dense, bring, tmp_path):
    (tmp_path / "dense.tflite").write_bytes(dense)
    imported = bring(tmp_path / "dense.tflite")
    assert imported.tflite == dense
    assert imported.notes == ()
    assert not imported.quantized


def test_a_signature_is_added_and_the_answers_stay(dense, given, bring, answer):
    imported = bring(given(lambda model: setattr(model, "signatureDefs", None)))
    assert len(contents_of(imported.tflite).signatures) == 1
    x = np.random.default_rng(1).random((3, 8, 8), np.float32)
    assert np.array_equal(answer(imported.tflite, x), answer(dense, x))


def test_an_open_batch_becomes_one(given, bring):
    imported = bring(given(lambda model: _open(model, 0)))
    contents = contents_of(imported.tflite)
    assert contents.inputs[0].shape == (1, 8, 8)
    assert contents.outputs[0].shape == (1, 8, 3)


def test_other_open_sizes_are_refused_with_what_to_type(given, bring):
    with pytest.raises(DataError, match=r"given\.tflite: its input \(any, 8\) has open sizes.*--input-shape"):
        bring(given(lambda model: _open(model, 1)))


def test_ops_that_litert_lacks_are_named(given, bring):
    with pytest.raises(DataError, match=r"given\.tflite: it has ops that LiteRT has not: FlexErf"):
        bring(given(_make_custom))


def test_a_shape_that_was_asked_for_has_to_be_the_model_s(given, bring):
    with pytest.raises(DataError, match=r"--input-shape 9,8 does not fit"):
        bring(given(lambda model: None), input_shape=(9, 8))


def test_the_state_of_tflite_s_own_lstm_is_reset_before_each_sample(models, bring, answer):
    """TensorFlow's converter makes an LSTM of tf-keras one op, whose state lasts from one run to the next."""
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {op.name for op in contents_of((models / "fused.tflite").read_bytes()).ops}
    imported = bring(models / "fused.tflite")
    keras = np.load(models / "fused.npz")
    np.testing.assert_allclose(answer(imported.tflite, keras["x"]), keras["y"], atol=1e-5)
    np.testing.assert_allclose(answer(imported.tflite, keras["x"][::-1]), keras["y"][::-1], atol=1e-5)


def test_a_model_that_answers_the_same_sample_differently_is_refused(bring, tmp_path):
    shape = np.array([1, 4], np.int32)
    ops = (Op("RANDOM_UNIFORM", ("shape",), ("noise",)), Op("ADD", ("x", "noise"), ("y",)))
    (tmp_path / "noise.tflite").write_bytes(tflite(Body(ops, ("x",), ("y",), {"shape": shape})))
    with pytest.raises(DataError, match=r"noise\.tflite: it answers the same sample differently after another one"):
        bring(tmp_path / "noise.tflite")


@needs_detector
def test_a_detector_with_litert_s_own_custom_op_answers_as_litert_does(tmp_path, capsys):
    """The last op of a real detector, its anchors and boxes constant: scores go in, four outputs come out in order."""
    data = _detector()
    (tmp_path / "detector.tflite").write_bytes(data)
    arguments = ["convert", str(tmp_path / "detector.tflite"), "--name", "detector", "--version", "1.0.0"]
    assert main.run([*arguments, "-o", str(tmp_path / "detector.maas"), "--json"]) == 0, capsys.readouterr().err
    plain = Interpreter(model_content=data)
    plain.allocate_tensors()
    names = ["TFLite_Detection_PostProcess", *(f"TFLite_Detection_PostProcess:{number}" for number in (1, 2, 3))]
    with open_bundle(tmp_path / "detector.maas") as bundle:
        assert [output.tensor.name for output in bundle.manifest.outputs] == names
        graph = measure.load_graph(bundle.manifest, unpack(bundle, tmp_path))
    (taken,) = plain.get_input_details()
    scale, zero = taken["quantization"]
    stored = np.random.default_rng(1).integers(0, 256, taken["shape"]).astype(np.uint8)
    plain.set_tensor(taken["index"], stored)
    plain.invoke()
    expected = [plain.get_tensor(detail["index"]) for detail in plain.get_output_details()]
    real = (stored.astype(np.float32) - zero) * scale
    found = graph.run(real.reshape(graph.manifest.inputs[0].decode.shape))
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_array_equal(found[name], values)
    assert expected[3][0] > 0


@needs_detector
def test_a_detector_of_several_inputs_is_refused_for_these(bring):
    with pytest.raises(DataError, match=r"traffic_model\.tflite: it has 3 inputs \(normalized_input_image_tensor, raw"):
        bring(SHARED / "detection" / "traffic_model.tflite")


def test_a_custom_op_that_litert_lacks_is_named(given, bring):
    with pytest.raises(DataError, match=r"given\.tflite: it has ops that LiteRT has not: Sparkle"):
        bring(given(lambda model: _make_custom(model, b"Sparkle")))


def _detector():
    model = files.parse((SHARED / "detection" / "traffic_model.tflite").read_bytes())
    graph = model.subgraphs[0]
    number, op = next(
        (number, op)
        for number, op in enumerate(graph.operators)
        if files.op_name(model, op) == "TFLite_Detection_PostProcess"
    )
    boxes, scores, _ = map(int, op.inputs)
    held = type(model.buffers[0])()
    held.data = np.random.default_rng(2).integers(0, 256, int(np.prod(graph.tensors[boxes].shape))).astype(np.uint8)
    model.buffers.append(held)
    graph.tensors[boxes].buffer = len(model.buffers) - 1
    return files.serialize(extract(model, [number], [scores], list(map(int, op.outputs))))


def test_a_truncated_file_is_refused(dense, bring, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(dense[: len(dense) // 2])
    with pytest.raises(DataError, match=r"cut\.tflite: "):
        bring(tmp_path / "cut.tflite")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(
    "name", ["resnet8/pretrainedResnet_quant.tflite", "mobilenet/mobilenet_v1_0.25_128_quant.tflite"]
)
def test_a_quantized_file_is_known_as_such(bring, name):
    imported = bring(SHARED / name)
    contents = contents_of(imported.tflite)
    assert imported.quantized
    assert len(contents.signatures) == 1
    assert contents.constant_bytes == contents_of((SHARED / name).read_bytes()).constant_bytes


def test_tensorflow_need_not_be_installed(dense, tmp_path):
    """Every process of the import runs where importing a framework fails."""
    for name in ("tensorflow", "keras", "tf_keras"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    (tmp_path / "dense.tflite").write_bytes(dense)
    program = (
        "import sys; from pathlib import Path; from maas_converter.importers.process import import_model; "
        "print(len(import_model(Path(sys.argv[1]), Path(sys.argv[2])).tflite)); import tensorflow"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "dense.tflite"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"{len(dense)}\n", done.stderr
    assert "ImportError: not here" in done.stderr  # or the test would show nothing


def _open(model, axis):
    graph = model.subgraphs[0]
    for index in [*graph.inputs, *graph.outputs]:
        tensor = graph.tensors[index]
        tensor.shapeSignature = [-1 if place == axis else size for place, size in enumerate(tensor.shape)]


def _make_custom(model, name=b"FlexErf"):
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = name
