"""Which samples become golden, and how far a device may be off."""

import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.golden import GoldenSamples, decode_golden, encode_golden
from maas_agent.bundle.manifest import Decode, Output, Quantization, Tensor
from maas_agent.errors import RuntimeFailure
from maas_converter.base.console import SilentProgress
from maas_converter.bench.golden import MOST_BYTES, chosen_rows, fewer, fitting, random_samples, stored, tolerance
from maas_converter.convert.conversion import convert
from maas_converter.convert.request import ConversionRequest
from tests.converter.tflite.graphs import Body, Op, tflite

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


def test_small_golden_samples_stay_as_every_device_reads_them():
    golden = GoldenSamples(np.zeros((16, 32, 32, 3), np.float32), {"y": np.zeros((16, 10), np.float32)})
    assert stored(golden) == (encode_golden(golden), 0)


def test_fewer_samples_where_they_take_too_much_but_always_two():
    assert fewer(16, 2 * MOST_BYTES) == 8
    assert fewer(16, MOST_BYTES + 1) == 15
    assert fewer(3, 100 * MOST_BYTES) == 2


def _pictures(folder, whole):
    """Pictures as floats, and a model that answers each channel's mean."""
    side = 400 if whole else 250
    body = Body(
        (Op("MEAN", ("x", "axes"), ("y",)),), ("x",), ("y",), {"axes": np.array([1, 2], np.int32)},
        {"x": (1, side, side, 3), "y": (1, 3)},
    )  # fmt: skip
    (folder / "m.tflite").write_bytes(tflite(body))
    x = np.random.default_rng(1).integers(0, 256, (16, side, side, 3)).astype(np.float32)
    np.savez(folder / "c.npz", x=x if whole else x / 3)
    out = folder / "m.maas"
    return ConversionRequest(
        folder / "m.tflite", "m", "1.0.0", out, quantize="float32", calibration=folder / "c.npz"
    ), x


@pytest.mark.parametrize("whole", [True, False])
def test_large_pictures_do_not_make_a_large_bundle(whole, tmp_path):
    """16 of them are 31 or 12 MB of floats; what is left of them is what was given, and what the model answers."""
    order, x = _pictures(tmp_path, whole)
    made = convert(order, SilentProgress())
    assert made.bytes < MOST_BYTES * (1.2 if whole else 1.1)
    with open_bundle(order.out) as bundle:
        manifest = bundle.manifest
        golden = decode_golden(bundle.blob(manifest.golden.blob), manifest.golden.inflated)
    assert manifest.schema == 2 and manifest.golden.size <= MOST_BYTES
    assert len(golden.samples) == manifest.golden.samples >= 2
    assert golden.samples.dtype == np.float32
    given = x if whole else x / 3
    assert all(any(np.array_equal(sample, one) for one in given) for sample in golden.samples)
    means = golden.samples.mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(golden.outputs["y"].reshape(-1, 3), means, rtol=1e-4)
