"""Text where raw samples could be: a number is a number, other text an error, raw values stay raw."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode, DType
from maas_agent.errors import DecodeError
from maas_agent.processing.decode import decode

ONE = Decode((1,), "float32")
TWO = Decode((2,), "float32")
PIXELS = Decode((8, 8, 1), "uint8", color="gray")


def read(payload: bytes, spec: Decode = ONE, **how: Any) -> list[Any]:
    values: list[Any] = decode(payload, spec, **how).samples.reshape(-1).tolist()
    return values


def code_of(payload: bytes, spec: Decode = ONE, **how: Any) -> str:
    with pytest.raises(DecodeError) as refused:
        decode(payload, spec, **how)
    return refused.value.code


NUMBERS = {
    b"21.5": 21.5,
    b"1013.250": 1013.25,
    b" 21.5\n": 21.5,
    b"21.5\r\n\0\0": 21.5,
    b"7": 7,
    b"+3": 3,
    b"-.5": -0.5,
    b"5.": 5,
    b"007": 7,
    b"1e3": 1000,
    b"1E-2 ": 0.01,
    b"0": 0,
    b"4096": 4096,
    b"\xef\xbb\xbf21.5": 21.5,
    "\ufeff21.5".encode("utf-16-le"): 21.5,
    "\ufeff1013.25".encode("utf-16-be"): 1013.25,
    "21.5".encode("utf-16-le"): 21.5,
    b"123456789012": 123456789012,
    b"[21.5]": 21.5,
    b"[1]\0": 1,
    b"\xef\xbb\xbf[21.5]": 21.5,
    "\ufeff[21.5]".encode("utf-16-le"): 21.5,
}


@pytest.mark.parametrize("payload", NUMBERS)
@pytest.mark.parametrize("shape", [(1,), (), (1, 1, 1)])
def test_a_number_is_a_number_where_a_sample_is_one(payload: bytes, shape: tuple[int, ...]) -> None:
    if b"[" in payload and not shape:
        return  # of such samples it is a batch
    decoded = decode(payload, Decode(shape, "float32"))
    assert not decoded.batched and decoded.samples.shape == (1, *shape)
    assert decoded.samples.reshape(()) == np.float32(NUMBERS[payload])


@pytest.mark.parametrize("payload", [b"21.5", b"1013.250", b"+3", b" 7\r", b".5", b"\xef\xbb\xbf1"])
def test_a_number_is_one_too_where_json_is_said(payload: bytes) -> None:
    plain = float(payload.removeprefix(b"\xef\xbb\xbf"))
    assert read(payload, content_type="application/json") == read(payload, configured="json") == [np.float32(plain)]


# fmt: off
TEXTS = [
    'null', 'ON', 'OFF', 'On', 'off', 'true', 'FALSE', 'None', 'N/A', 'NULL', 'online', 'offline',
    'unavailable', 'unknown', 'undefined', 'OPEN', 'CLOSED', 'open', 'closed', 'error', 'idle', 'HIGH', 'COLD',
    '21,5', '1.013,25', '0x1F', '0xdeadbeef', '1_0', '1;2;3;4', '1,2,3,4', '12:30:45', '2026-11-23', 'T=20',
    'v1.2', '"21.5"', "'abc'", 'hello', 'test1234', 'temperature=21.5', '21.5C', '21.5°C', 'offen', 'geöffnet',
    'открыто', '打开', 'einundzwanzig',
]
# fmt: on
TEXTS += [
    "21 C",
    "20 %",
    "[1,2",
    "[1, 2, 3, ",
    '{"value": 21.5}',
    "sensor not found",
    "a longer text, of two words or more.",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("end", ["", "\n", "\0", "\0\0\0", " "])
def test_other_text_is_an_error_whatever_its_size(text: str, end: str) -> None:
    """Each of some length that is, or with an end becomes, a whole number of float32."""
    assert code_of((text + end).encode()) in (codes.BAD_JSON, codes.WRONG_DTYPE, codes.WRONG_SHAPE)
    if text[0] not in "[{":  # an array of two is no sample of one value, and one for the other model
        payload = (text + end).encode()
        assert code_of(payload + bytes(-len(payload) % 8), TWO) == codes.BAD_JSON


@pytest.mark.parametrize("text", ["nan", "NaN\0", "-inf", "Infinity", "1e999", "9" * 400])
def test_what_is_not_finite_is_called_so(text: str) -> None:
    assert code_of(text.encode()) == codes.NOT_FINITE
    assert code_of(text.encode(), configured="json") in (codes.NOT_FINITE, codes.BAD_JSON, codes.WRONG_DTYPE)


def test_a_number_is_no_sample_of_several_values() -> None:
    for text in (b"1013.250", b"21.50000", b"12345678"):
        assert code_of(text, TWO) == codes.BAD_JSON
    assert code_of(b"1013.250", Decode((8,), "uint8")) == codes.BAD_JSON
    assert code_of(b"1013.250", Decode((4,), "int16")) == codes.BAD_JSON


def test_who_says_raw_gets_raw() -> None:
    for payload in (b"21.5", b"null", b"ON\0\0", b"[1]\0", b"8888"):
        expected = list(struct.unpack("<f", payload))
        assert read(payload, content_type="application/octet-stream") == expected
        assert read(payload, configured="raw") == expected
    assert read(b"1013.250", configured="raw") == list(struct.unpack("<2f", b"1013.250"))


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "int16", "int32", "int64", "bool"])
def test_words_are_no_samples_of_any_type_of_one_value(dtype: DType) -> None:
    for text in (b"OFF\n", b"true", b"unavailable!", b"online", b"Not available yet"):
        assert code_of(text, Decode((1,), dtype)) == codes.BAD_JSON


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [("int16", b"1013", 1013), ("uint8", b"255", 255), ("int8", b"-12", -12), ("int64", b"5", 5)],
)
def test_integers_as_text(dtype: DType, text: bytes, value: int) -> None:
    assert read(text, Decode((1,), dtype)) == [value]


@pytest.mark.parametrize(("dtype", "text"), [("uint8", b"7"), ("int16", b"21"), ("float16", b".5")])
def test_a_number_that_could_as_well_be_one_small_raw_value_has_to_be_told(dtype: DType, text: bytes) -> None:
    with pytest.raises(DecodeError, match=r'may be that number or a raw.*"json" or "raw"'):
        decode(text, Decode((1,), dtype))
    assert read(text, Decode((1,), dtype), configured="json") == [float(text)]
    assert read(text, Decode((1,), dtype), configured="raw") == np.frombuffer(text, dtype).tolist()


# ----------------------------------------------------------------- raw values stay raw


def refused(values: NDArray[Any], spec: Decode) -> list[bytes]:
    """Of samples, one a row, those that are not read as what they are."""
    bad = []
    for row in values:
        try:
            if decode(row.tobytes(), spec).samples.tobytes() != row.tobytes():
                bad.append(row.tobytes())
        except DecodeError:
            bad.append(row.tobytes())
    return bad


RANDOM = np.random.default_rng(12)
MEASURED = {
    "degrees": RANDOM.normal(21, 3, 4000),
    "hectopascals": RANDOM.normal(1013, 10, 4000),
    "around zero": RANDOM.normal(0, 1, 4000),
    "volts": RANDOM.uniform(0, 5, 4000),
    "thousands": RANDOM.uniform(1e3, 1e6, 4000),
    "thousandths": RANDOM.uniform(0, 1e-3, 4000),
}


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_measured_values_are_never_taken_for_text(name: str, size: int) -> None:
    """Though the bytes of one in twenty of them are all printable: the number is looked for first."""
    values = MEASURED[name].astype(np.float32)
    assert refused(values.reshape(-1, size), Decode((size,), "float32")) == []


def test_equal_values_and_values_before_zeros_are_not_text() -> None:
    printable = np.frombuffer(b"ER$A", np.float32)
    assert refused(np.repeat(printable, 16)[np.newaxis], Decode((16,), "float32")) == []
    assert refused(np.pad(printable, (0, 15))[np.newaxis], Decode((16,), "float32")) == []


def test_pixels_that_are_all_printable_are_pixels() -> None:
    dim = RANDOM.integers(32, 127, (500, 64)).astype(np.uint8)
    lower = RANDOM.integers(97, 123, (500, 64)).astype(np.uint8)
    flat = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 64, axis=1)
    for pixels in (dim, lower, flat):
        assert refused(pixels, PIXELS) == []
    assert refused(RANDOM.integers(65, 91, (500, 8)).astype(np.uint8), Decode((8,), "uint8")) == []
    assert refused(RANDOM.integers(48, 58, (500, 8)).astype(np.uint8), Decode((8,), "uint8")) == []


def test_small_integers_are_not_text_with_zeros() -> None:
    for dtype in ("int16", "int32", "int64"):
        values = np.arange(256).astype(dtype)
        assert refused(values.reshape(-1, 8), Decode((8,), dtype)) == []  # type: ignore[arg-type]
        assert refused(values[:, np.newaxis], Decode((1,), dtype)) == []  # type: ignore[arg-type]


def test_several_raw_samples_may_begin_with_a_bracket() -> None:
    batch = struct.pack("<3f", *struct.unpack("<f", b"[\x01\x02A"), -1.5, 3.25)
    assert read(batch) == np.frombuffer(batch, np.float32).tolist()


def test_a_sentence_is_no_picture() -> None:
    sentence = b"the camera is not connected, please look at the cable".ljust(64)
    assert code_of(sentence, PIXELS) == codes.BAD_JSON
    assert read(sentence, PIXELS, configured="raw") == list(sentence)


@given(st.text(max_size=40), st.sampled_from([ONE, TWO, PIXELS, Decode((1,), "int16"), Decode((), "uint8")]))
def test_any_text_is_a_sample_or_refused(text: str, spec: Decode) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be"):
        try:
            decode(text.encode(encoding, "surrogatepass"), spec)
        except DecodeError as error:
            assert error.code in codes.MEANING
            str(error).encode()
