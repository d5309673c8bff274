"""Ranges come from the samples, all of them, in any order."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Scale
from maas_agent.errors import DataError, RuntimeFailure, UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.bench.blobs import Blobs
from maas_converter.convert.bundle_plan import ONLY_STAGE, StagePlan
from maas_converter.convert.packing import load_stage
from maas_converter.quantize.calibration import quantize, quantize_fed
from maas_converter.quantize.fallback import precision_of
from maas_converter.quantize.recipes import RECIPES, recipe
from tests.converter.quantize.running import answers, feed, noise

PLAN = StagePlan(ONLY_STAGE, Path("model.tflite"), None)


@pytest.fixture(scope="module")
def float32(digits_tflite):
    return digits_tflite.read_bytes()


@pytest.fixture
def spec(float32, tmp_path):
    tensor = load_stage(float32, Blobs(tmp_path), PLAN).inputs[0]
    return Input(tensor, Decode(shape=(8, 8, 1), dtype="uint8"), (Scale(scale=0.0625),))


def test_the_input_range_is_that_of_the_preprocessed_samples(float32, spec, digits, tmp_path):
    with np.load(digits.calibration) as file:
        samples = file["x"]
    made = quantize(float32, recipe("int8"), spec, samples, None, SilentProgress())
    stored = load_stage(made, Blobs(tmp_path), PLAN).inputs[0].quantization
    assert stored is not None
    assert stored.scale == pytest.approx(samples.max() * 0.0625 / 255, rel=0.02)


def test_the_order_of_samples_changes_nothing(float32, spec, digits):
    with np.load(digits.calibration) as file:
        samples = file["x"][:50]
    assert quantize(float32, recipe("int8"), spec, samples, None, SilentProgress()) == quantize(
        float32, recipe("int8"), spec, samples[::-1], None, SilentProgress()
    )


def test_float32_ships_what_was_imported(float32, spec):
    assert quantize(float32, recipe("float32"), spec, None, None, SilentProgress()) is float32


@pytest.mark.parametrize("name", [name for name, found in RECIPES.items() if found.build is not None])
def test_the_same_data_makes_the_same_bytes(float32, spec, digits, name):
    with np.load(digits.calibration) as file:
        samples = file["x"][:50]
    first, second = (quantize(float32, recipe(name), spec, samples, None, SilentProgress()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_answers_nearly_as_the_float_model(float32, spec, digits, tmp_path, name):
    with np.load(digits.calibration) as file:
        samples = file["x"]
    made = quantize(float32, recipe(name), spec, samples, None, SilentProgress())
    scaled = samples.astype(np.float32) * 0.0625
    before, after = answers(float32, scaled, tmp_path), answers(made, scaled, tmp_path)
    assert np.mean(before.argmax(axis=1) == after.argmax(axis=1)) > 0.95


def test_each_recipe_weighs_what_its_weights_say(float32, spec, digits):
    with np.load(digits.calibration) as file:
        samples = file["x"][:50]
    sizes = {name: len(quantize(float32, recipe(name), spec, samples, None, SilentProgress())) for name in RECIPES}
    assert sizes["int4"] < sizes["int8"] < sizes["float16"] < sizes["float32"]


def test_a_recipe_that_needs_samples_says_so(float32, spec):
    with pytest.raises(DataError, match="--calibration"):
        quantize(float32, recipe("int8"), spec, None, None, SilentProgress())


def test_an_lstm_loop_is_refused_in_a_sentence_and_dynamic_takes_it(models, tmp_path):
    samples = noise((8, 8))
    with pytest.raises(RuntimeFailure, match=r"WHILE.*unrolled.*--quantize dynamic"):
        quantize_fed(models["lstm"], recipe("int8"), feed(samples), None, SilentProgress())
    made = quantize_fed(models["lstm"], recipe("dynamic"), feed(samples), None, SilentProgress())
    assert np.abs(answers(made, samples, tmp_path) - answers(models["lstm"], samples, tmp_path)).max() < 0.05


def test_an_unrolled_lstm_computes_in_int8_throughout(models, tmp_path):
    """Its first step splits off a gate that nothing reads; LiteRT refuses a SPLIT of int8 and float32."""
    samples = noise((8, 8))
    made = quantize_fed(models["unrolled"], recipe("int8"), feed(samples), None, SilentProgress())
    assert set(precision_of(made).kinds) == {"int8"}
    before = answers(models["unrolled"], samples, tmp_path)
    assert np.abs(answers(made, samples, tmp_path) - before).max() < 0.15 * np.abs(before).max()


def test_resnet8_in_int8_is_smaller_than_the_benchmarks_own_and_as_good(cifar, tmp_path):
    made = quantize_fed(cifar.float32, recipe("int8"), feed(cifar.calibration), None, SilentProgress())
    assert len(made) <= 98_496
    right = [
        answers(data, cifar.evaluation, tmp_path).argmax(axis=1) == cifar.evaluation_y for data in (cifar.float32, made)
    ]
    assert right[0].mean() - right[1].mean() <= 0.005


def test_resnet8_in_int4_keeps_its_accuracy_within_two_points(cifar, tmp_path):
    made = quantize_fed(cifar.float32, recipe("int4"), feed(cifar.calibration), None, SilentProgress())
    assert len(made) <= 61_000
    right = [
        answers(data, cifar.evaluation, tmp_path).argmax(axis=1) == cifar.evaluation_y for data in (cifar.float32, made)
    ]
    assert right[0].mean() - right[1].mean() <= 0.02


def test_what_is_no_model_is_refused_in_a_sentence(spec, digits):
    with np.load(digits.calibration) as file, pytest.raises(DataError, match="no TFLite model"):
        quantize(b"no model at all" * 10, recipe("int8"), spec, file["x"][:2], None, SilentProgress())


def test_an_unknown_recipe_is_refused_with_the_choices():
    with pytest.raises(UsageError) as caught:
        recipe("int3")
    assert all(name in str(caught.value) for name in RECIPES)
