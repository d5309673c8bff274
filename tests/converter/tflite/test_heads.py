"""What makes an output is found behind whatever only stores or arranges its values."""

import numpy as np
import pytest

from maas_converter.tflite.heads import OutputHead, heads_of
from tests.converter.shared import shared
from tests.converter.tflite.graphs import Body, Op, chain, tflite
from tests.models import flat_classifier_tflite, tiny_classifier_tflite


def test_each_kind_is_told():
    assert heads_of(tiny_classifier_tflite()) == (OutputHead("softmax", "SOFTMAX"),)
    assert heads_of(tiny_classifier_tflite(dtype="int8"))[0].kind == "softmax"
    assert heads_of(chain("LOGISTIC"))[0].kind == "sigmoid"
    assert heads_of(chain("LOG_SOFTMAX"))[0].kind == "log_softmax"
    assert heads_of(chain("SOFTMAX", "LOG"))[0].kind == "log_softmax"
    assert heads_of(chain("LOG_SOFTMAX", "EXP"))[0].kind == "softmax"
    assert heads_of(chain("TANH")) == (OutputHead("unknown", "TANH"),)


@pytest.mark.parametrize("op", ["RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE", "EXPAND_DIMS", "CAST", "TRANSPOSE"])
def test_what_only_arranges_values_is_passed(op):
    assert heads_of(chain("LOGISTIC", op, op))[0] == OutputHead("sigmoid", "LOGISTIC")


def test_the_models_own_input_is_one_that_another_stage_may_have_made():
    assert heads_of(chain("RESHAPE")) == (OutputHead("input", index=0),)


def _joined(*kinds: str) -> str:
    names = [f"t{number}" for number in range(len(kinds))]
    ops = [Op(kind, ("x",), (name,)) for kind, name in zip(kinds, names, strict=True)]
    joined = Op("CONCATENATION", tuple(names), ("y",))
    return heads_of(tflite(Body((*ops, joined), ("x",), ("y",), shapes={"y": (1, 4 * len(kinds))})))[0].kind


def test_values_side_by_side_are_of_one_kind_or_of_none():
    assert _joined("LOGISTIC", "LOGISTIC") == "sigmoid"
    assert _joined("SOFTMAX", "SOFTMAX") == "softmaxes", "together they are no distribution"
    assert _joined("SOFTMAX", "LOGISTIC") == "unknown"


def test_a_softmax_of_every_pixel_is_not_one_distribution():
    graph = Body((Op("SOFTMAX", ("x",), ("y",)),), ("x",), ("y",), shapes={"x": (1, 3, 3, 4), "y": (1, 3, 3, 4)})
    assert heads_of(tflite(graph))[0].kind == "softmaxes"


def test_a_part_of_a_softmax_is_no_softmax():
    def part(kind):
        ops = (Op(kind, ("x",), ("t",)), Op("SLICE", ("t", "at", "size"), ("y",)))
        constants = {"at": np.array([0, 1], np.int32), "size": np.array([1, 3], np.int32)}
        return heads_of(tflite(Body(ops, ("x",), ("y",), constants=constants, shapes={"y": (1, 3)})))[0].kind

    assert part("SOFTMAX") == "unknown"
    assert part("LOGISTIC") == "sigmoid"


def test_a_layer_without_an_activation_is_linear_also_scaled():
    ops = (Op("FULLY_CONNECTED", ("x", "w"), ("t",)), Op("MUL", ("t", "c"), ("y",)))
    constants = {"w": np.eye(4, dtype=np.float32), "c": np.ones((1, 4), np.float32)}
    assert heads_of(tflite(Body(ops, ("x",), ("y",), constants=constants)))[0].kind == "linear"
    assert heads_of(flat_classifier_tflite(op="CEIL"))[0].kind == "softmax"


def test_a_loop_in_a_damaged_file_ends():
    ops = (Op("CONCATENATION", ("b", "b"), ("a",)), Op("RESHAPE", ("a",), ("b",)))
    assert heads_of(tflite(Body(ops, ("x",), ("b",))))[0].kind == "unknown"


def test_a_quantized_imagenet_classifier_ends_in_a_softmax():
    model = shared("mobilenet/mobilenet_v1_0.25_128_quant.tflite")
    assert heads_of(model.read_bytes())[0].kind == "softmax"
