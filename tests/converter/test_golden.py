"""Which samples become golden, and how far a device may be off."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Output, Quantization, Tensor
from maas_agent.errors import RuntimeFailure
from maas_converter.golden import chosen_rows, fitting, random_samples, tolerance

STEP = 1 / 256


def _output(quantized: bool) -> tuple[Output, ...]:
    if not quantized:
        return (Output(Tensor("out", (1, 2), "float32")),)
    return (Output(Tensor("out", (1, 2), "int8", Quantization(STEP, -128))),)


def test_each_class_has_its_turn():
    y = np.array([0] * 100 + [1] * 3 + [2])
    chosen = y[chosen_rows(len(y), y)]
    assert np.bincount(chosen).tolist() == [12, 3, 1]


def test_without_classes_samples_are_spread_evenly():
    rows = chosen_rows(1000, None)
    assert (len(rows), rows[0], rows[-1]) == (16, 0, 999)
    assert chosen_rows(3, None) == [0, 1, 2]
    assert chosen_rows(1, None) == [0]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float16", "bool"])
def test_random_samples_are_the_same_every_time(dtype):
    decode = Decode(shape=(2, 3), dtype=dtype)
    first, second = random_samples(decode), random_samples(decode)
    assert first.shape == (16, 2, 3)
    assert first.dtype == np.dtype(dtype)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("rows", "dtype"), [(128, "int32"), (100, "int32"), (5, "int64"), (1, "uint8"), (300, "uint8")]
)
def test_integers_are_drawn_from_the_rows_that_a_model_s_table_has(rows, dtype):
    def run(drawn):
        if drawn.max() >= rows:
            raise RuntimeFailure("gather index out of bounds")

    drawn = fitting(lambda below: random_samples(Decode(shape=(9,), dtype=dtype), below), run)
    assert drawn.max() < rows
    assert drawn.max() >= min(rows, 255) // 2 - 1


def test_a_model_that_fails_on_everything_fails():
    def run(drawn):
        raise RuntimeFailure(f"no kernel for {drawn.dtype}")

    with pytest.raises(RuntimeFailure, match="no kernel for int32"):
        fitting(lambda below: random_samples(Decode(shape=(9,), dtype="int32"), below), run)


def test_a_float_model_may_be_off_by_a_share_of_its_range():
    answers = {"out": np.array([[0.0, 10.0]], np.float32)}
    assert tolerance(_output(False), answers, answers, quantized=False) == pytest.approx(0.1)


def test_a_quantized_model_may_be_off_by_what_quantization_itself_costs():
    float32 = {"out": np.array([[0.0, 1.0]], np.float32)}
    close = {"out": float32["out"] + np.float32(0.001)}
    far = {"out": float32["out"] + np.float32(0.1)}
    assert tolerance(_output(True), close, float32, quantized=True) == pytest.approx(4 * STEP)
    assert tolerance(_output(True), far, float32, quantized=True) == pytest.approx(0.2, rel=1e-3)


def test_a_model_that_answers_anything_never_passes():
    float32 = {"out": np.array([[0.0, 1.0]], np.float32)}
    absurd = {"out": float32["out"] + np.float32(50)}
    assert tolerance(_output(True), absurd, float32, quantized=True) == pytest.approx(0.5)
