"""Samples to input tensors: the steps, the quantization, and the table that stands for both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.bundle.manifest import Decode, DType, Input, LogMel, Normalize, Preprocess, Quantization, Scale, Tensor
from maas_agent.processing.features import log_mel
from maas_agent.processing.preprocess import outside_of, preprocessor, quantize

ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def spec(
    *steps: Preprocess, sample: DType, tensor: DType, quantization: Quantization | None = None, channels: int = 1
) -> Input:
    shape = (16, 16 // channels, channels) if channels > 1 else (16, 16, 1)
    return Input(Tensor("x", (1, *shape), tensor, quantization), Decode(shape, sample), steps)


@pytest.mark.parametrize("quantization", [None, Quantization(1 / 255, -128), Quantization(0.0173, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32", "float16"])
@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Scale(1 / 255),),
        (Scale(1 / 127.5, -1.0),),
        (Normalize((123.675,), (58.395,)),),
        (Scale(1 / 255), Normalize((0.485,), (0.229,)), Scale(-3.7, 0.1)),
    ],
    ids=len,
)
def test_the_table_of_8_bit_samples_gives_the_same_bits_as_the_steps(
    steps: tuple[Preprocess, ...], dtype: DType, quantization: Quantization | None
) -> None:
    """The steps run for float samples of the same values: only there is no table."""
    if dtype.startswith("float"):
        quantization = None
    by_table = preprocessor(spec(*steps, sample="uint8", tensor=dtype, quantization=quantization))(ALL_BYTES)
    by_steps = preprocessor(spec(*steps, sample="float32", tensor=dtype, quantization=quantization))
    np.testing.assert_array_equal(by_table, by_steps(ALL_BYTES.astype(np.float32)))
    assert by_table.dtype == dtype and by_table.shape == (1, 16, 16, 1)


def test_scale_is_x_times_scale_plus_offset() -> None:
    run = preprocessor(spec(Scale(0.5, -3.0), sample="uint8", tensor="float32"))
    np.testing.assert_array_equal(run(ALL_BYTES).reshape(-1), np.arange(256) * 0.5 - 3)


def test_normalize_takes_each_channel_by_its_own_mean_and_deviation() -> None:
    normalize = Normalize((10.0, 20.0), (2.0, 4.0))
    run = preprocessor(spec(normalize, sample="uint8", tensor="float32", channels=2))
    sample = np.arange(256, dtype=np.uint8).reshape(16, 8, 2)
    expected = (sample.astype(np.float32) - [10, 20]) / [2, 4]
    np.testing.assert_allclose(run(sample)[0], expected, rtol=1e-6)


def test_one_mean_may_go_with_a_deviation_for_each_channel() -> None:
    run = preprocessor(spec(Normalize((10.0,), (2.0, 4.0)), sample="uint8", tensor="float32", channels=2))
    sample = np.full((16, 8, 2), 18, np.uint8)
    assert run(sample)[0, 0, 0].tolist() == [4.0, 2.0]


def test_steps_are_taken_in_their_order() -> None:
    first = preprocessor(spec(Scale(2.0), Scale(1.0, 1.0), sample="uint8", tensor="float32"))
    second = preprocessor(spec(Scale(1.0, 1.0), Scale(2.0), sample="uint8", tensor="float32"))
    assert first(ALL_BYTES).reshape(-1)[3] == 7
    assert second(ALL_BYTES).reshape(-1)[3] == 8


def test_without_steps_and_quantization_the_sample_is_the_tensor() -> None:
    run = preprocessor(spec(sample="uint8", tensor="uint8"))
    np.testing.assert_array_equal(run(ALL_BYTES)[0], ALL_BYTES)


def test_a_read_only_sample_is_no_trouble() -> None:
    """Raw payloads are decoded without a copy."""
    sample = np.frombuffer(ALL_BYTES.tobytes(), np.uint8).reshape(16, 16, 1)
    assert preprocessor(spec(Scale(2.0), sample="uint8", tensor="float32"))(sample).max() == 510


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_sound_becomes_features_then_every_band_is_normalized_by_its_own_values(dtype: DType) -> None:
    mel = LogMel(sample_rate=8000, frame=64, hop=32, bands=4)
    mean, std = (-3.0, -2.0, -1.0, 0.0), (1.0, 2.0, 3.0, 4.0)
    steps = (mel, Normalize(mean, std), Scale(0.5))
    sound = (np.random.default_rng(1).normal(0, 0.1, 128) * (1 if dtype == "float32" else 1000)).astype(dtype)
    run = preprocessor(Input(Tensor("x", (1, 3, 4, 1), "float32"), Decode((128,), dtype, sample_rate=8000), steps))
    expected = (log_mel(mel)(sound.astype(np.float32)) - np.array(mean)) / np.array(std) * 0.5
    np.testing.assert_allclose(run(sound).reshape(3, 4), expected, rtol=1e-5)
    assert run(sound).shape == (1, 3, 4, 1) and run(sound).dtype == np.float32


def test_features_are_quantized_as_the_tensor_says() -> None:
    mel = LogMel(sample_rate=8000, frame=64, hop=64, bands=4)
    tensor = Tensor("x", (1, 2, 4), "int8", Quantization(0.1, 20))
    run = preprocessor(Input(tensor, Decode((128,), "float32", sample_rate=8000), (mel,)))
    sound = np.random.default_rng(1).normal(0, 0.1, 128).astype(np.float32)
    expected = np.clip(np.rint(log_mel(mel)(sound) / np.float32(0.1) + 20), -128, 127)
    np.testing.assert_array_equal(run(sound)[0], expected)


def test_8_bit_samples_of_which_a_step_looks_at_several_have_no_table() -> None:
    """The table is for what treats all elements alike; per-channel steps are computed."""
    run = preprocessor(spec(Normalize((0.0, 1.0), (1.0,)), sample="uint8", tensor="float32", channels=2))
    assert run(np.full((16, 8, 2), 5, np.uint8))[0, 0, 0].tolist() == [5.0, 4.0]


def test_rounding_is_half_to_even() -> None:
    """As NumPy, Python and TFLite's converter do."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert quantize(values, Quantization(1.0), "int8").tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
@pytest.mark.filterwarnings("error")
def test_what_does_not_fit_is_clipped_to_the_ends_of_the_type(dtype: str) -> None:
    """Nothing wraps to the other end, not even where float32 has no number for the end."""
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    low, high = quantize(np.array([-1e30, 1e30], np.float32), None, dtype).tolist()
    assert low == limits.min
    assert limits.max - 1024 <= high <= limits.max
    if limits.bits <= 32:
        assert high == limits.max


def test_zero_point_and_scale_are_those_of_the_tensor() -> None:
    stored = quantize(np.array([0.0, 0.6, 1.0], np.float32), Quantization(1 / 255, -128), "int8")
    assert stored.tolist() == [-128, 25, 127]


def test_float_tensors_are_not_rounded() -> None:
    assert quantize(np.array([0.25], np.float32), None, "float32").tolist() == [0.25]


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1),
    st.floats(2**-20, 2**20, width=32),
    st.integers(-128, 127),
)
def test_quantizing_is_off_by_half_a_step_at_most(values: list[float], scale: float, zero_point: int) -> None:
    real = np.array(values, np.float32)
    stored = quantize(real, Quantization(scale, zero_point), "int8").astype(np.float64)
    inside = (stored > -128) & (stored < 127)
    error = np.abs((stored - zero_point) * scale - real.astype(np.float64))
    assert (error[inside] <= scale * 0.5001).all()


def spec_of(scale: float, zero_point: int, steps: tuple[Preprocess, ...], dtype: DType = "float32") -> Input:
    tensor = Tensor("x", (1, 2, 2), "int8", Quantization(scale, zero_point))
    return Input(tensor, Decode((2, 2), dtype), steps)


@pytest.mark.parametrize(
    ("steps", "low", "high"),
    [
        ((), 0.0, 1.0),
        ((Scale(-2.0, 1.0),), 0.0, 0.5),
        ((Scale(0.5), Normalize((0.5,), (2.0,))), 1.0, 5.0),
        ((Normalize((0.0, 0.0), (1.0, 1.0)),), 0.0, 1.0),
    ],
)
def test_values_outside_the_range_of_an_input_are_told(steps: tuple[Preprocess, ...], low: float, high: float) -> None:
    outside = outside_of(spec_of(1 / 255, -128, steps))
    assert outside is not None
    within = np.array([[low, high], [high, low]], np.float32)
    assert not outside(within)
    for value in (low - 0.1 * (high - low), high + 0.1 * (high - low)):
        assert outside(np.where(within == low, np.float32(value), within))


def test_what_cannot_leave_the_range_is_not_looked_at() -> None:
    assert outside_of(spec_of(1.0, -128, (), "uint8")) is None
    assert outside_of(spec_of(1 / 255, -128, (Scale(1 / 255),), "uint8")) is None
    assert outside_of(spec_of(1 / 255, -128, (), "uint8")) is not None
    assert outside_of(Input(Tensor("x", (1, 4), "float32"), Decode((4,), "float32"))) is None
