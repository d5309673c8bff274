"""Layers of real models: both kinds of a tiny one, and the benchmark's own pair where it is there."""

import numpy as np
import pytest

from maas_converter.evidence.layers import layers_of
from tests.converter.shared import FOLDER
from tests.models import SHAPE, endless_tflite, tiny_classifier_tflite

SHARED = FOLDER


@pytest.fixture
def inputs():
    return np.random.default_rng(0).random((50, *SHAPE), dtype=np.float32)


def test_every_layer_is_found_by_name_and_the_worst_comes_first(inputs):
    found = layers_of(tiny_classifier_tflite(), tiny_classifier_tflite(dtype="int8"), inputs)
    assert found.skipped == ""
    assert found.samples == 32
    assert {(layer.index, layer.op, layer.name) for layer in found.layers} == {
        (0, "FULLY_CONNECTED", "logits"),
        (1, "SOFTMAX", "scores"),
    }
    errors = [layer.relative_error for layer in found.layers]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error < 0.1 for error in errors)
    assert all(layer.dtype == "int8" and layer.cosine > 0.99 and layer.snr_db > 20 for layer in found.layers)


def test_weights_are_counted_at_the_op_that_reads_them(inputs):
    found = layers_of(tiny_classifier_tflite(), tiny_classifier_tflite(dtype="int8"), inputs)
    weights = {layer.op: (layer.weight_bytes, layer.weight_share) for layer in found.layers}
    assert weights == {"FULLY_CONNECTED": (10 * 64 + 4 * 10, 1.0), "SOFTMAX": (0, 0.0)}


def test_a_model_beside_itself_has_no_error(inputs):
    found = layers_of(tiny_classifier_tflite(), tiny_classifier_tflite(), inputs)
    assert [(layer.relative_error, layer.snr_db) for layer in found.layers] == [(0, None), (0, None)]


def test_other_weights_are_a_large_error(inputs):
    found = layers_of(tiny_classifier_tflite(seed=0), tiny_classifier_tflite(seed=1), inputs)
    assert min(layer.relative_error for layer in found.layers) > 0.3


def test_models_without_a_common_tensor_are_skipped_and_never_run(inputs):
    """The loop would never end."""
    found = layers_of(tiny_classifier_tflite(), endless_tflite(), inputs)
    assert found.layers == ()
    assert "no inner tensor in common" in found.skipped


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_resnet8_and_the_benchmarks_own_int8_file():
    folder = SHARED / "resnet8"
    x = np.load(folder / "cifar10-evaluation-1500.npz")["x"][:40, None].astype(np.float32)
    float32, int8 = (folder / f"pretrainedResnet{kind}.tflite" for kind in ("", "_quant"))
    found = layers_of(float32.read_bytes(), int8.read_bytes(), x)
    assert len(found.layers) == 15, "16 ops, of which a RESHAPE moves values only"
    assert all(0 < layer.relative_error < 0.5 for layer in found.layers)
    assert sum(layer.weight_share for layer in found.layers) == pytest.approx(1, abs=0.02)
    first = min(found.layers, key=lambda layer: layer.index)
    assert first.relative_error < found.layers[0].relative_error, "errors grow on the way"
