"""What stayed float is read from the file that ships, and is an error if it is much."""

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.base.console import SilentProgress
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.fallback import check, precision_of
from maas_converter.quantize.quantizer import Feed
from maas_converter.quantize.recipes import RECIPES, recipe
from maas_converter.tflite.signature import with_signature
from tests.converter.quantize.running import feed, noise
from tests.converter.tflite.graphs import Body, Op, tflite


def _made(models, model, shape, name, io=None):
    return precision_of(quantize_fed(models[model], recipe(name), feed(noise(shape)), io, SilentProgress()))


@pytest.mark.parametrize("name", ["int8", "int4", "int16x8"])
def test_ops_the_library_leaves_float_are_an_error_that_names_them(models, name):
    with pytest.raises(DataError, match=r"17 % of the work float .*COS .*SIN .*--allow-float") as caught:
        check(_made(models, "waves", (16, 16, 4), name), recipe(name), allow_float=False)
    assert "CONV_2D" not in str(caught.value)


def test_allow_float_accepts_and_returns_their_names(models):
    accepted = check(_made(models, "waves", (16, 16, 4), "int8"), recipe("int8"), allow_float=True)
    assert {"SIN", "COS"} <= {name.split()[0] for name in accepted}


def test_a_small_share_is_no_error_but_is_told(models):
    precision = _made(models, "wave", (16, 16, 3), "int8")
    assert [name.split()[0] for name in check(precision, recipe("int8"), allow_float=False)] == ["SIN"]


@pytest.mark.parametrize("io", ["int8", "uint8", "float"])
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_converting_at_the_ends_is_no_fallback(models, name, io):
    precision = _made(models, "dense", (64,), name, io)
    assert check(precision, recipe(name), allow_float=False) == ()
    assert precision.kinds == {"int8": 3}


def test_dynamic_ops_are_told_apart(models):
    precision = _made(models, "dense", (64,), "dynamic")
    assert (precision.kinds, precision.inputs, precision.outputs) == ({"hybrid": 3}, ("float32",), ("float32",))
    assert check(precision, recipe("dynamic"), allow_float=False) == ()


def test_a_float_model_passed_off_as_any_quantized_one_is_refused(models):
    for name, found in RECIPES.items():
        if found.computes != "float":
            with pytest.raises(DataError, match=f"--quantize {name} left 100 % of the weights"):
                check(precision_of(models["dense"]), found, allow_float=False)


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_float_recipes_promise_nothing(models, name):
    assert check(_made(models, "dense", (64,), name), recipe(name), allow_float=False) == ()


def test_work_is_counted_in_multiply_accumulates(models):
    precision = precision_of(models["dense"])
    assert [op.work for op in precision.ops] == [64 * 128, 128 * 128, 128 * 10]


def test_resnet8_computes_in_integers_throughout(cifar):
    made = precision_of(
        quantize_fed(cifar.float32, recipe("int8"), feed(cifar.calibration[:20]), None, SilentProgress())
    )
    assert check(made, recipe("int8"), allow_float=False) == ()
    assert sum(op.work for op in made.ops) == pytest.approx(12.5e6, rel=0.01)


def test_what_takes_or_gives_indexes_and_truth_values_is_no_work():
    """Nothing of it is a quantity: only the layer between is counted."""
    constants = {
        "weights": np.eye(4, dtype=np.float32),
        "depth": np.array(4, np.int32),
        "on": np.array(1, np.float32),
        "off": np.array(0, np.float32),
        "axis": np.array(1, np.int32),
        "limit": np.array(0.5, np.float32),
    }
    ops = (
        Op("ONE_HOT", ("x", "depth", "on", "off"), ("hot",), options={"axis": -1}),
        Op("FULLY_CONNECTED", ("hot", "weights"), ("scores",)),
        Op("ARG_MAX", ("scores", "axis"), ("best",), options={"outputType": 2}),
        Op("GREATER", ("scores", "limit"), ("sure",)),
        Op("CAST", ("sure",), ("y",), options={"inDataType": 6, "outDataType": 0}),
    )
    types = {"x": "int32", "best": "int32", "sure": "bool"}
    body = Body(ops, ("x",), ("best", "y"), constants, {"x": (1,), "best": (1,)}, types)
    float32 = with_signature(tflite(body))
    assert [op.name for op in precision_of(float32).ops] == ["FULLY_CONNECTED"]
    ids = Feed(4, lambda number: [np.array([number], np.int32)])
    for name in ("int8", "int16x8"):
        made = precision_of(quantize_fed(float32, recipe(name), ids, None, SilentProgress()))
        assert check(made, recipe(name), allow_float=False) == ()
        assert "FULLY_CONNECTED" in {op.name for op in made.ops}
