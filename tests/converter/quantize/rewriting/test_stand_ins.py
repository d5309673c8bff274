"""Ops that litert-quantizer does not know and LiteRT computes in integers: quantized, with the float model's values."""

import numpy as np
import pytest

from maas_converter.base.console import SilentProgress
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.fallback import check, precision_of
from maas_converter.quantize.kept_float import kept_in
from maas_converter.quantize.recipes import recipe
from maas_converter.quantize.rewriting.stand_ins import STAND_INS
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.signature import with_signature
from tests.converter.quantize.running import answers, feed
from tests.converter.tflite.graphs import Body, Op, tflite

SHAPE = (1, 4, 4, 4)


def _ints(*values):
    return np.array(values, np.int32)


CASES: dict[str, tuple[tuple[int, ...], dict, dict]] = {
    "LEAKY_RELU": (SHAPE, {}, {"alpha": 0.2}),
    "ELU": (SHAPE, {}, {}),
    "EXP": (SHAPE, {}, {}),
    "LOG": (SHAPE, {}, {}),
    "ABS": (SHAPE, {}, {}),
    "RELU6": (SHAPE, {}, {}),
    "RELU_N1_TO_1": (SHAPE, {}, {}),
    "RELU_0_TO_1": (SHAPE, {}, {}),
    "TOPK_V2": ((1, 4, 4, 2), {"c0": _ints(2).reshape(())}, {}),
    "LOG_SOFTMAX": (SHAPE, {}, {}),
    "PRELU": (SHAPE, {"c0": np.array([0.1, -0.3, 0.5, 0.9], np.float32)}, {}),
    "MINIMUM": (SHAPE, {"c0": np.array(0.3, np.float32)}, {}),
    "REDUCE_MAX": ((1, 4), {"c0": _ints(1, 2)}, {"keepDims": False}),
    "REDUCE_PROD": ((1, 4, 4), {"c0": _ints(1)}, {"keepDims": False}),
    "EXPAND_DIMS": ((1, 1, 4, 4, 4), {"c0": _ints(1).reshape(())}, {}),
    "SQUEEZE": ((4, 4, 4), {}, {"squeezeDims": [0]}),
    "REVERSE_V2": (SHAPE, {"c0": _ints(1)}, {}),
    "TILE": ((1, 8, 4, 4), {"c0": _ints(1, 2, 1, 1)}, {}),
    "SPLIT_V": ((1, 4, 4, 1), {"c0": _ints(1, 3), "c1": _ints(3).reshape(())}, {"numSplits": 2}),
    "SPACE_TO_BATCH_ND": ((4, 2, 2, 4), {"c0": _ints(2, 2), "c1": np.zeros((2, 2), np.int32)}, {}),
    "BATCH_TO_SPACE_ND": (SHAPE, {"c0": _ints(1, 1), "c1": np.zeros((2, 2), np.int32)}, {}),
    "DEPTH_TO_SPACE": ((1, 8, 8, 1), {}, {"blockSize": 2}),
    "L2_NORMALIZATION": (SHAPE, {}, {}),
}


PRODUCTS = ["NEG", "SQUARE"]


def _between_convolutions(kind):
    """A convolution, the op, and a second op of integers: the op's neighbours compute in integers as well."""
    random = np.random.default_rng(4)
    shape, constants, options = CASES.get(kind, (SHAPE, {}, {}))
    weights = {
        "w": random.normal(0, 0.5, (4, 1, 1, 4)).astype(np.float32),
        "b": np.full(4, {"LOG": 9, "REDUCE_PROD": 2}.get(kind, 0), np.float32),
    }
    conv = Op("CONV_2D", ("x", "w", "b"), ("made",), options={"strideH": 1, "strideW": 1})
    made = {"SPLIT_V": ("out", "rest"), "TOPK_V2": ("out", "indexes")}.get(kind, ("out",))
    op = Op(kind, ("made", *constants), made, options=options)
    last = Op("MUL", ("out", "half"), ("y",))
    shapes = {"x": SHAPE, "made": SHAPE, "out": shape, "rest": (1, 4, 4, 3), "y": shape}
    constants = constants | weights | {"half": np.array(0.5, np.float32)}
    shapes["indexes"] = shape
    return with_signature(tflite(Body((conv, op, last), ("x",), ("y",), constants, shapes, {"indexes": "int32"})))


def test_every_stand_in_is_tried():
    assert CASES.keys() == STAND_INS.keys()


@pytest.mark.parametrize("kind", [*CASES, *PRODUCTS])
def test_an_op_the_library_does_not_know_is_quantized(kind, tmp_path):
    float32 = _between_convolutions(kind)
    samples = np.random.default_rng(5).normal(0, 0.7, (60, *SHAPE[1:])).astype(np.float32)
    before = answers(float32, samples, tmp_path)
    for name, bits in (("int8", 8), ("int16x8", 16)):
        quantized = quantize_fed(float32, recipe(name), feed(samples), None, SilentProgress())
        ops = {op.name: op.kind for op in precision_of(quantized).ops}
        assert kind not in PRODUCTS or {*ops.values()} == {"integer"}, ops
        if kind in STAND_INS and bits in STAND_INS[kind].bits and kind in ops:
            assert ops[kind] == "integer", ops
        error = np.sqrt(np.mean((answers(quantized, samples, tmp_path) - before) ** 2)) / before.std()
        assert error < (0.04 if bits == 8 else 0.02), (name, error)


@pytest.mark.parametrize("size", [0.01, 1, 1000])
@pytest.mark.parametrize("name", ["int8", "int16x8"])
def test_a_comparison_of_numbers_of_any_size_is_right_and_no_fallback(name, size, tmp_path):
    """What is chosen by it is what the float model chooses: near the threshold both choices are as good."""
    random = np.random.default_rng(4)
    constants = {
        "w": (size * random.normal(0, 0.5, (4, 1, 1, 4))).astype(np.float32),
        "b": np.zeros(4, np.float32),
        "limit": np.array(size * 0.3, np.float32),
        "half": np.array(0.5, np.float32),
        "reserve": np.array(size * 0.15, np.float32),
    }
    made = ("made", "high", "low", "scaled", "first", "y")
    ops = (
        Op("CONV_2D", ("x", "w", "b"), ("made",), options={"strideH": 1, "strideW": 1}),
        Op("GREATER", ("made", "limit"), ("high",)),
        Op("LESS_EQUAL", ("made", "limit"), ("low",)),
        Op("MUL", ("made", "half"), ("scaled",)),
        Op("SELECT_V2", ("high", "scaled", "reserve"), ("first",)),
        Op("SELECT_V2", ("low", "reserve", "first"), ("y",)),
    )
    types = {"high": "bool", "low": "bool"}
    body = Body(ops, ("x",), ("y",), constants, dict.fromkeys(("x", *made), SHAPE), types)
    float32 = with_signature(tflite(body))
    samples = random.normal(0, 0.7, (60, *SHAPE[1:])).astype(np.float32)
    before = answers(float32, samples, tmp_path)
    quantized = quantize_fed(float32, recipe(name), feed(samples), None, SilentProgress())
    assert check(precision_of(quantized), recipe(name), allow_float=False) == ()
    assert np.abs(answers(quantized, samples, tmp_path) - before).max() < 0.15 * before.std()


@pytest.mark.parametrize("size", [0.01, 100])
def test_a_log_softmax_whose_values_its_kernel_has_no_steps_for_stays_float_and_says_so(size, tmp_path):
    float32 = _between_convolutions("LOG_SOFTMAX")
    samples = (size * np.random.default_rng(5).normal(0, 0.7, (60, *SHAPE[1:]))).astype(np.float32)
    kept = kept_in(float32, recipe("int8"), feed(samples))
    said = "what LOG_SOFTMAX gives stays float: its kernel gives -15.94 … 0 in steps of 0.0625"
    assert any(reason.startswith(said) for reason in kept.reasons)
    quantized = quantize_fed(float32, recipe("int8"), feed(samples), None, SilentProgress())
    kinds = {op.name: op.kind for op in precision_of(quantized).ops}
    assert (kinds["CONV_2D"], kinds["LOG_SOFTMAX"]) == ("integer", "float")
    labels = kept.labels(contents_of(float32))
    assert check(precision_of(quantized), recipe("int8"), allow_float=False, kept=labels) == ()
    before = answers(float32, samples, tmp_path)
    assert np.sqrt(np.mean((answers(quantized, samples, tmp_path) - before) ** 2)) < 0.04 * before.std()
