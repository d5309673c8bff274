"""Golden samples: what is written is read, and what does not fit is refused."""

import zlib
from typing import Any

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.golden import GoldenSamples, decode_golden, deflate_golden, encode_golden
from maas_agent.errors import BundleError

SAMPLES = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
OUTPUTS = {"b": np.ones((3, 5), np.float32), "a": np.arange(3, dtype=np.float32).reshape(3, 1)}
GOOD = {"shape": [3, 1], "dtype": "float32", "data": bytes(12)}


def file_of(**output: Any) -> bytes:
    """A file whose one output is `GOOD` but for some fields."""
    samples = {"shape": [3], "dtype": "uint8", "data": b"abc"}
    return msgspec.msgpack.encode({"samples": samples, "outputs": {"scores": GOOD | output}})


def test_what_is_encoded_is_decoded() -> None:
    golden = decode_golden(encode_golden(GoldenSamples(SAMPLES, OUTPUTS)))
    np.testing.assert_array_equal(golden.samples, SAMPLES)
    assert golden.samples.dtype == SAMPLES.dtype
    assert sorted(golden.outputs) == ["a", "b"]
    for name, values in OUTPUTS.items():
        np.testing.assert_array_equal(golden.outputs[name], values)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"])
def test_samples_of_every_type_are_kept(dtype: str) -> None:
    samples = np.array([[0, 1], [1, 0]], dtype)
    golden = decode_golden(encode_golden(GoldenSamples(samples, {"x": np.zeros((2, 1), np.float32)})))
    assert golden.samples.dtype == dtype
    np.testing.assert_array_equal(golden.samples, samples)


def test_the_same_samples_give_the_same_bytes() -> None:
    """Whatever the order of outputs, and however the arrays lie in memory."""
    strided = np.asfortranarray(SAMPLES)
    assert encode_golden(GoldenSamples(strided, dict(reversed(OUTPUTS.items())))) == encode_golden(
        GoldenSamples(SAMPLES, OUTPUTS)
    )


def test_a_row_of_nan_is_kept() -> None:
    """It says that a sample has no such output."""
    outputs = {"face": np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32)}
    golden = decode_golden(encode_golden(GoldenSamples(SAMPLES, outputs)))
    np.testing.assert_array_equal(golden.outputs["face"], outputs["face"])


def test_the_file_that_the_other_tests_change_is_good() -> None:
    assert decode_golden(file_of()).outputs["scores"].shape == (3, 1)


@pytest.mark.parametrize(
    "output",
    [
        {"data": bytes(11)},
        {"data": bytes(13)},
        {"shape": [3, 2]},
        {"shape": [4, 1], "data": bytes(16)},
        {"shape": [], "data": bytes(4)},
        {"shape": [-3, -1]},
        {"shape": [3, 0, 1 << 62], "data": b""},
        {"shape": [3] + [1] * 70},
        {"dtype": "O"},
        {"dtype": "U1"},
        {"dtype": "f4,f4", "shape": [3], "data": bytes(24)},
        {"dtype": "(2,"},
        {"dtype": "complex64", "data": bytes(24)},
        {"dtype": "nonsense"},
        {"extra": 1},
    ],
    ids=str,
)
def test_an_array_that_does_not_fit_is_refused(output: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="golden"):
        decode_golden(file_of(**output))


def test_a_file_cut_anywhere_is_refused() -> None:
    data = encode_golden(GoldenSamples(SAMPLES, OUTPUTS))
    for end in range(len(data)):
        with pytest.raises(BundleError, match="golden"):
            decode_golden(data[:end])


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
@pytest.mark.parametrize("values", [[0, 255, 17], [-128, 127, 1], [-3000, 2000, 0], [0.5, 1.25, -2], [-0.0, 0, 1]])
def test_deflated_samples_are_the_same_to_the_bit(dtype: str, values: list[float]) -> None:
    samples = np.array(values, np.float64).astype(dtype).repeat(300).reshape(3, 300)
    blob, inflated = deflate_golden(GoldenSamples(samples, OUTPUTS))
    golden = decode_golden(blob, inflated)
    assert golden.samples.dtype == dtype
    assert golden.samples.tobytes() == samples.tobytes()
    np.testing.assert_array_equal(golden.outputs["b"], OUTPUTS["b"])


def test_pixels_given_as_floats_are_stored_in_eight_bits() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 50, 50, 3)).astype(np.float32)
    _, inflated = deflate_golden(GoldenSamples(pixels, {}))
    assert pixels.size <= inflated < pixels.size + 200


def test_nothing_is_inflated_beyond_what_the_manifest_states() -> None:
    """A bomb of 64 MB in 64 KB, a stream that ends early, bytes behind it, and no stream at all."""
    blob, inflated = deflate_golden(GoldenSamples(SAMPLES, OUTPUTS))
    bomb = zlib.compress(bytes(1 << 26))
    for data, size in (
        (bomb, 1 << 16), (blob, inflated - 1), (blob, inflated + 1), (blob[:-3], inflated), (blob + b"x", inflated),
        (b"nonsense", 100), (b"", 1),
    ):  # fmt: skip
        with pytest.raises(BundleError, match=r"golden samples .*inflate"):
            decode_golden(data, size)


def test_a_blob_that_is_not_deflated_cannot_widen_its_samples() -> None:
    plain = zlib.decompress(deflate_golden(GoldenSamples(SAMPLES.astype(np.float32), OUTPUTS))[0])
    with pytest.raises(BundleError, match="have to be deflated"):
        decode_golden(plain)
