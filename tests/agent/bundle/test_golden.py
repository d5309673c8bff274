"""Golden samples: what is written is read, and what does not fit is refused."""

from typing import Any

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.golden import GoldenSamples, decode_golden, encode_golden
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
