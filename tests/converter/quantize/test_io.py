"""Inputs and outputs change their type, answers stay the same to the step."""

import numpy as np
import pytest

from maas_agent.errors import UsageError
from maas_converter.base.console import SilentProgress
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.io import chosen_io
from maas_converter.quantize.recipes import RECIPES, recipe
from maas_converter.tflite.contents import contents_of
from tests.converter.quantize.running import answers, feed, loaded, noise

_STATIC = [name for name, found in RECIPES.items() if "int8" in found.io]


@pytest.mark.parametrize("name", _STATIC)
def test_answers_are_those_of_int8_to_the_step(models, tmp_path, name):
    samples = noise((64,))
    made = {
        io: quantize_fed(models["dense"], recipe(name), feed(samples), io, SilentProgress()) for io in recipe(name).io
    }
    step = loaded(made["int8"], tmp_path).outputs[0].quantization.scale
    plain = answers(made["int8"], samples, tmp_path)
    assert {
        io: np.abs(answers(data, samples, tmp_path) - plain).max() <= 1.001 * step for io, data in made.items()
    } == {
        "int8": True,
        "uint8": True,
        "float": True,
    }


@pytest.mark.parametrize(("io", "dtype"), [(None, "int8"), ("int8", "int8"), ("uint8", "uint8"), ("float", "float32")])
def test_both_ends_have_the_type_that_was_asked_for(models, io, dtype):
    made = contents_of(quantize_fed(models["dense"], recipe("int8"), feed(noise((64,))), io, SilentProgress()))
    assert [made.inputs[0].dtype, made.outputs[0].dtype] == [dtype, dtype]


@pytest.mark.parametrize("io", ["int8", "uint8", "float"])
def test_inputs_and_outputs_keep_the_names_of_the_float_model(models, io):
    before = contents_of(models["dense"])
    made = contents_of(quantize_fed(models["dense"], recipe("int8"), feed(noise((64,))), io, SilentProgress()))
    assert [tensor.name for tensor in (*made.inputs, *made.outputs)] == [
        tensor.name for tensor in (*before.inputs, *before.outputs)
    ]
    assert len({tensor.name for tensor in made.graphs[0].tensors}) == len(made.graphs[0].tensors)


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic", "int16x8"])
def test_a_recipe_without_integer_ends_says_which_have_them(name):
    with pytest.raises(UsageError, match=rf"--io int8: .*{name} are float; int8 and int4 have int8"):
        chosen_io(recipe(name), "int8")


def test_an_unknown_type_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="choose one of int8, uint8, float"):
        chosen_io(recipe("int8"), "int7")
