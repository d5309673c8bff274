"""Ranges come from the samples, all of them, in any order."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Scale
from maas_agent.errors import RuntimeFailure, UsageError
from maas_converter.blobs import Blobs
from maas_converter.console import Silent
from maas_converter.importers.process import import_model
from maas_converter.pack import load_stage
from maas_converter.quantize.calibration import quantize
from maas_converter.quantize.recipes import RECIPES, recipe


@pytest.fixture(scope="module")
def float32(digits, tmp_path_factory):
    return import_model(digits.model, tmp_path_factory.mktemp("import")).tflite


@pytest.fixture
def spec(float32, tmp_path):
    tensor = load_stage(float32, Blobs(tmp_path)).input
    return Input(tensor, Decode(shape=(8, 8, 1), dtype="uint8"), (Scale(scale=0.0625),))


def test_the_input_range_is_that_of_the_preprocessed_samples(float32, spec, digits, tmp_path):
    with np.load(digits.calibration) as file:
        samples = file["x"]
    made = quantize(float32, recipe("int8"), spec, samples, Silent())
    stored = load_stage(made, Blobs(tmp_path)).input.quantization
    assert stored is not None
    assert stored.scale == pytest.approx(samples.max() * 0.0625 / 255, rel=0.02)


def test_the_order_of_samples_changes_nothing(float32, spec, digits):
    with np.load(digits.calibration) as file:
        samples = file["x"][:50]
    assert quantize(float32, recipe("int8"), spec, samples, Silent()) == quantize(
        float32, recipe("int8"), spec, samples[::-1], Silent()
    )


def test_float32_ships_what_was_imported(float32, spec):
    assert quantize(float32, recipe("float32"), spec, None, Silent()) is float32


def test_a_model_the_library_cannot_quantize_is_refused_in_a_sentence(spec, digits):
    with np.load(digits.calibration) as file, pytest.raises(RuntimeFailure, match="int8"):
        quantize(b"no model at all" * 10, recipe("int8"), spec, file["x"][:2], Silent())


def test_an_unknown_recipe_is_refused_with_the_choices():
    with pytest.raises(UsageError) as caught:
        recipe("int3")
    assert all(name in str(caught.value) for name in RECIPES)
