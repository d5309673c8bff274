"""A ready-made model and pictures, without a preprocess file: what LiteRT answers to the same pixels."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Normalize, Quantization, Scale, Tensor
from maas_agent.ipc import InferenceRequest
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_agent.worker.engine import Engine
from maas_converter.base.console import SilentProgress
from maas_converter.bench.blobs import unpack
from maas_converter.bench.pixels import ReadyMadeModel
from maas_converter.bench.samples import Processing, chosen_input
from maas_converter.convert.conversion import convert
from maas_converter.convert.request import ConversionRequest
from maas_converter.data.formats import load
from maas_converter.tflite.metadata import Metadata
from tests.converter.convert.test_heads_end_to_end import plain_litert, published
from tests.converter.shared import shared
from tests.converter.tflite.test_metadata import metadata_buffer, with_metadata
from tests.models import tiny_classifier_tflite

PICTURE = (1, 4, 4, 3)
PIXELS = np.arange(256, dtype=np.uint8)


def quantized(dtype, scale, zero_point, shape=PICTURE):
    return Tensor("image", shape, dtype, Quantization(scale, zero_point))


@pytest.fixture
def stored(tmp_path):
    """A data set of so many uint8 samples of one value."""

    def made(value, shape=PICTURE):
        np.savez(tmp_path / "data.npz", x=np.full((3, *shape[1:]), value, np.uint8))
        return [load(tmp_path / "data.npz")]

    return made


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("uint8", 1 / 128, 128), ("uint8", 0.0186584, 114), ("int8", 1 / 255, -128), ("int8", 1 / 128, 0)],
)
def test_every_pixel_is_stored_as_it_is(dtype, scale, zero_point):
    tensor = quantized(dtype, scale, zero_point, (1, 256, 1, 1))
    chosen = chosen_input(tensor, None, [], ReadyMadeModel(quantized=True))
    assert chosen.spec.decode.dtype == "uint8"
    made = preprocessor(chosen.spec)(PIXELS.reshape(256, 1, 1)).reshape(-1)
    assert made.tolist() == (PIXELS.astype(int) - (128 if dtype == "int8" else 0)).tolist()
    assert "pixels are taken as it stores them" in chosen.notes[0]


def test_an_input_of_0_to_255_takes_pixels_without_a_step():
    chosen = chosen_input(quantized("int8", 1.0, -128), None, [], ReadyMadeModel(quantized=True))
    assert (chosen.spec.preprocess, chosen.spec.decode.dtype, chosen.notes) == ((), "uint8", ())


def test_numbers_that_lie_in_the_range_are_real_values(stored):
    tensor = quantized("int8", 16 / 255, -128)
    chosen = chosen_input(tensor, None, stored(16), ReadyMadeModel(quantized=True))
    assert chosen.spec.preprocess == () and "taken as real values" in chosen.notes[0]
    assert chosen_input(tensor, None, stored(200), ReadyMadeModel(quantized=True)).spec.preprocess != ()


def test_a_preprocess_file_wins(stored):
    tensor = quantized("uint8", 1 / 128, 128)
    chosen = chosen_input(tensor, Processing(preprocess=(Scale(0.5),)), stored(200), ReadyMadeModel(quantized=True))
    assert chosen.spec.preprocess == (Scale(0.5),)
    assert (
        chosen_input(tensor, Processing(), stored(200), ReadyMadeModel(True, Metadata((1.0,), (1.0,)))).spec.preprocess
        == ()
    )


def test_a_model_that_is_quantized_here_takes_real_values(stored):
    assert chosen_input(quantized("int8", 1 / 128, 0), None, stored(200), ReadyMadeModel()).spec.preprocess == ()


def test_features_are_no_pixels(stored):
    tensor = quantized("int8", 1 / 128, 0, (1, 20))
    assert chosen_input(tensor, None, stored(200, (1, 20)), ReadyMadeModel(quantized=True)).spec.preprocess == ()
    assert chosen_input(tensor, None, [], ReadyMadeModel(quantized=True)).spec.decode.dtype == "float32"


def test_the_normalization_of_the_metadata_is_a_step(stored):
    ready = ReadyMadeModel(metadata=Metadata((1.0, 2.0, 3.0), (4.0,)))
    float32 = Tensor("image", PICTURE, "float32")
    chosen = chosen_input(float32, None, [], ready)
    assert chosen.spec.preprocess == (Normalize((1.0, 2.0, 3.0), (4.0,)),)
    assert chosen.spec.decode.dtype == "uint8"
    assert "(x - [1, 2, 3]) / 4, as the model's TFLite metadata say" in chosen.notes[0]


def test_a_normalization_that_leaves_the_range_is_not_the_inputs(stored):
    """Task libraries give 8-bit inputs their pixels as they are, whatever the metadata say."""
    tensor = quantized("uint8", 1 / 128, 128)
    unscaled = chosen_input(tensor, None, [], ReadyMadeModel(True, Metadata((0.0,), (1.0,))))
    assert unscaled.spec.preprocess == (Scale(1 / 128, -1.0),)
    around = chosen_input(tensor, None, [], ReadyMadeModel(True, Metadata((127.5,), (127.5,))))
    assert around.spec.preprocess == (Scale(1 / 128, -1.0),), "the same but for rounding, which costs a step"
    half = chosen_input(tensor, None, [], ReadyMadeModel(True, Metadata((127.5,), (255.0,))))
    assert half.spec.preprocess == (Normalize((127.5,), (255.0,)),)


def test_labels_and_normalization_of_a_file_reach_the_answer(tmp_path):
    labels = [f"kind {number}" for number in range(10)]
    content = metadata_buffer((10.0,), (50.0,))
    source = tmp_path / "model.tflite"
    source.write_bytes(with_metadata(tiny_classifier_tflite(), content, {"labels.txt": "\n".join(labels)}))
    done = convert(
        ConversionRequest(source, "model", "1.0.0", tmp_path / "model.maas", quantize="float32"), SilentProgress()
    )
    assert "10 labels are those of the model's own TFLite metadata" in done.notes
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    document, _ = published(tmp_path / "model.maas", tmp_path, (tmp_path / "a.png").read_bytes(), "image/png")
    model = accelerator("cpu").load(source, 1)
    (scores,) = model.run([((pixels.astype(np.float32) - 10) / 50).reshape(1, 8, 8, 1)])
    best = int(scores.argmax())
    assert document["result"]["label"] == f"kind {best}"
    assert document["result"]["score"] == pytest.approx(float(scores.max()), abs=1e-6)


def test_a_quantized_imagenet_classifier_needs_no_preprocess_file(tmp_path):
    source, labels = shared("mobilenet/mobilenet_v1_0.25_128_quant.tflite"), shared("mobilenet/imagenet_labels.txt")
    out, names = tmp_path / "mobilenet.maas", labels.read_text().splitlines()
    done = convert(ConversionRequest(source, "mobilenet", "1.0.0", out, labels=labels), SilentProgress())
    assert any("pixels are taken as it stores them, 0…255 stand for -1…0.9922" in note for note in done.notes)
    for photo in ("cat_720p.jpg", "owl.jpg"):
        path = shared(f"mobilenet/{photo}")
        document, answer = published(out, tmp_path, path.read_bytes(), "image/jpeg")
        scores = plain_litert(source, path)
        assert document["result"]["label"] == names[int(scores.argmax())]
        assert document["result"]["score"] == pytest.approx(scores.max() / 256, abs=1e-6)
        assert answer.outside == 0


@pytest.fixture
def narrow(tmp_path):
    """A bundle of an int8 model of 0…1 whose samples are pixels as real values, as its preprocess file says."""
    (tmp_path / "model.tflite").write_bytes(tiny_classifier_tflite(dtype="int8"))
    (tmp_path / "p.toml").write_text('[decode]\nshape = [8, 8, 1]\ndtype = "uint8"\n')
    x = np.zeros((4, 8, 8, 1), np.uint8)
    x[1:, 0, 0, 0] = 200
    np.savez(tmp_path / "data.npz", x=x)
    out = tmp_path / "model.maas"
    order = ConversionRequest(
        tmp_path / "model.tflite", "m", "1.0.0", out, evaluation=tmp_path / "data.npz", preprocess=tmp_path / "p.toml"
    )
    return convert(order, SilentProgress()), out


def test_samples_outside_the_inputs_range_are_told_and_counted(narrow, tmp_path):
    done, out = narrow
    warned = subprocess.run(
        [sys.executable, "-m", "maas_agent", "infer", str(out), str(tmp_path / "data.npz")],
        capture_output=True,
        text=True,
    )
    assert warned.returncode == 0
    assert "3 samples hold values outside the range of the model's input, 0…1, first in " in warned.stderr
    assert any(
        "3 of 4 samples (data.npz) hold values outside the range of the input 'image', 0…1" in n for n in done.notes
    )
    with open_bundle(out) as bundle:
        graph = Graph(bundle.manifest, unpack(bundle, tmp_path).path, accelerator("cpu"), 1)
    engine = Engine(graph, "device", "pipeline", None)
    batch = np.zeros((3, 8, 8, 1), np.uint8)
    batch[0, 3, 3, 0] = 2
    batch[1, 3, 3, 0] = 1
    batch[2] = 9
    answer = engine.answer(InferenceRequest(1, "1", batch.tobytes(), None, arrived=0.0, arrived_at=0.0))
    assert answer.outside == 2 and len(json.loads(answer.document)["result"]) == 3
