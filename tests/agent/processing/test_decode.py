"""Payloads to samples: every form, every code, and no other way out than those."""

import io
import json
import random
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing.decode import MAX_BATCH, MAX_PIXELS, Decoded, decode
from tests.agent.memory import memory_limit

GRAY = Decode((8, 8, 1), "uint8", color="gray")
RGB = Decode((6, 4, 3), "uint8")
FLOATS = Decode((2, 3), "float32")
SPECS = [
    GRAY,
    RGB,
    FLOATS,
    Decode((8, 8), "float16"),
    Decode((3,), "int8"),
    Decode((), "int64"),
    Decode((2, 2, 2, 2), "bool"),
    Decode((5, 5, 4), "int16"),
]

GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLORS = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def code_of(payload: bytes | str, spec: Decode = GRAY, **how: Any) -> str:
    with pytest.raises(DecodeError) as refused:
        decode(payload.encode() if isinstance(payload, str) else payload, spec, **how)
    assert str(refused.value)
    return refused.value.code


def picture(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.fromarray(pixels), kind, **options)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def is_one(decoded: Decoded, expected: NDArray[Any]) -> bool:
    """Whether this is one sample of these values."""
    return not decoded.batched and np.array_equal(decoded.samples, expected.reshape(1, *decoded.samples.shape[1:]))


# ----------------------------------------------------------------- raw bytes


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_raw_bytes_are_the_sample_in_its_type_row_major(spec: Decode) -> None:
    values = np.random.default_rng(2).integers(0, 2, (3, *spec.shape)).astype(spec.dtype)
    one = decode(values[0].tobytes(), spec, "application/octet-stream")
    assert is_one(one, values[0]) and one.samples.dtype == spec.dtype
    three = decode(values.tobytes(), spec, "application/octet-stream")
    assert three.batched
    np.testing.assert_array_equal(three.samples, values)


@pytest.mark.parametrize("size", [1, 63, 65, 127])
def test_bytes_that_are_no_whole_number_of_samples_are_refused(size: int) -> None:
    assert code_of(bytes(size), configured="raw") == codes.WRONG_SHAPE


def test_a_batch_has_a_bound() -> None:
    assert len(decode(bytes(64 * MAX_BATCH), GRAY).samples) == MAX_BATCH
    assert code_of(bytes(64 * (MAX_BATCH + 1))) == codes.TOO_LARGE
    assert code_of(json.dumps([[[[0]]]] * (MAX_BATCH + 1)), Decode((1, 1, 1), "uint8")) == codes.TOO_LARGE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_raw_float_that_is_not_finite_is_refused(value: float) -> None:
    values = np.ones((2, 3), np.float32)
    assert is_one(decode(values.tobytes(), FLOATS), values)
    values[1, 2] = value
    assert code_of(values.tobytes(), FLOATS) == codes.NOT_FINITE


def test_an_empty_payload_is_refused_whatever_it_is_said_to_be() -> None:
    for configured in (None, "raw", "json", "image", "audio"):
        assert code_of(b"", configured=configured) == codes.EMPTY


def test_a_memoryview_is_as_good_as_bytes() -> None:
    assert is_one(decode(memoryview(GRADIENT.tobytes()), GRAY), GRADIENT)


# ----------------------------------------------------------------- JSON


def test_json_may_be_nested_or_flat_or_a_batch() -> None:
    rows = GRADIENT.reshape(8, 8, 1).tolist()
    assert is_one(decode(json.dumps(rows).encode(), GRAY), GRADIENT)
    assert is_one(decode(json.dumps(GRADIENT.reshape(-1).tolist()).encode(), GRAY), GRADIENT)
    batch = decode(json.dumps([rows, rows]).encode(), GRAY)
    assert batch.batched and batch.samples.shape == (2, 8, 8, 1) and batch.samples.dtype == np.uint8
    assert decode(json.dumps([rows]).encode(), GRAY).batched  # a batch of one is answered with a list of one


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("[" + "1," * 62 + "1]", codes.WRONG_SHAPE),
        ("[[1,2],[3]]", codes.WRONG_SHAPE),
        ("[[1],2]", codes.WRONG_SHAPE),
        ("[1,[2]]", codes.WRONG_SHAPE),
        ('[[1],"a"]', codes.WRONG_DTYPE),
        ("[]", codes.WRONG_SHAPE),
        ("[[]]", codes.WRONG_SHAPE),
        ("[[[[]]]]", codes.WRONG_SHAPE),
        (json.dumps([[0] * 8] * 8), codes.WRONG_SHAPE),  # the channel is missing
        ("[" * 60 + "]" * 60, codes.WRONG_SHAPE),
        ("[" * 90 + "1" + "]" * 90, codes.WRONG_SHAPE),
        ("[" * 100_000, codes.BAD_JSON),
        ("[" * 100_000 + "]" * 100_000, codes.BAD_JSON),
        (json.dumps([256] * 64), codes.WRONG_DTYPE),
        (json.dumps([-1] * 64), codes.WRONG_DTYPE),
        (json.dumps([0.5] * 64), codes.WRONG_DTYPE),
        (json.dumps([1e300] * 64), codes.WRONG_DTYPE),
        (json.dumps([10**30] * 64), codes.WRONG_DTYPE),
        (json.dumps(["1"] * 64), codes.WRONG_DTYPE),
        (json.dumps([None] * 64), codes.WRONG_DTYPE),
        (json.dumps([{}] * 64), codes.WRONG_DTYPE),
        ("[" + "NaN," * 63 + "1]", codes.NOT_FINITE),
        ("[-Infinity" + ",1" * 63 + "]", codes.NOT_FINITE),
        ("[1e999" + ",1" * 63 + "]", codes.BAD_JSON),
        ("[1, 2", codes.BAD_JSON),
        ("[1 2]", codes.BAD_JSON),
        ("{", codes.BAD_JSON),
        ("{}", codes.BAD_JSON),
        ('{"inputs": 1}', codes.BAD_JSON),
        (b"[1, \xff]", codes.BAD_JSON),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_is_no_sample_is_refused_with_its_code(payload: bytes | str, code: str) -> None:
    assert code_of(payload) == code


@pytest.mark.parametrize("payload", ["null", "1", '"text"', "true"])
def test_json_that_is_neither_array_nor_object_is_refused(payload: str) -> None:
    assert code_of(payload, content_type="application/json") == codes.BAD_JSON


def test_numbers_are_taken_if_the_type_can_hold_them_exactly() -> None:
    def read(text: str, spec: Decode) -> list[Any]:
        return decode(text.encode(), spec, configured="json").samples[0].tolist()

    def refused(text: str, spec: Decode) -> bool:
        return code_of(text, spec, configured="json") == codes.WRONG_DTYPE

    small = Decode((3,), "int8")
    assert read("[-128, 127, 1.0]", small) == [-128, 127, 1]
    assert read("[true, false, 1]", small) == [1, 0, 1]
    assert read("[1, 2, 3.25]", Decode((3,), "float32")) == [1, 2, 3.25]
    assert read("[0, 1]", Decode((2,), "bool")) == [False, True]
    assert all(refused(text, small) for text in ("[128, 0, 0]", "[-129, 0, 0]", "[0.1, 0, 0]"))
    assert refused("[0, 2]", Decode((2,), "bool"))
    assert refused("[1e39]", Decode((1,), "float32"))
    assert refused("[70000]", Decode((1,), "float16"))
    assert refused(f"[{1 << 63}]", Decode((1,), "int64"))
    assert read(f"[{-(1 << 63)}]", Decode((1,), "int64")) == [-(1 << 63)]


def test_long_strings_in_an_array_cost_no_memory() -> None:
    """NumPy would make every element as wide as the longest: 400 GB of these 2 MB."""
    texts = json.dumps(["a" * 1_000_000] + [""] * 100_000)
    with memory_limit(256 << 20):
        assert code_of(texts) == codes.WRONG_DTYPE
        request = '{"inputs": [{"name": "x", "shape": [64], "datatype": "UINT8", "data": %s}]}'
        assert code_of(request % texts) == codes.WRONG_DTYPE


# ----------------------------------------------------------------- Open Inference Protocol


def request_of(**tensor: Any) -> bytes:
    good = {"name": "x", "shape": [1, 8, 8, 1], "datatype": "UINT8", "data": GRADIENT.reshape(-1).tolist()}
    return json.dumps({"id": "mine", "inputs": [good | tensor]}).encode()


def test_an_open_inference_request_is_a_batch_and_is_kept() -> None:
    decoded = decode(request_of(), GRAY)
    assert decoded.batched and np.array_equal(decoded.samples, GRADIENT.reshape(1, 8, 8, 1))
    assert decoded.request is not None and decoded.request.id == "mine"
    assert not decode(request_of(shape=[8, 8, 1]), GRAY).batched
    assert decode(request_of(data=GRADIENT.reshape(1, 8, 8, 1).tolist()), GRAY).batched


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        ({"shape": [1, 8, 8]}, codes.WRONG_SHAPE),
        ({"shape": [2, 8, 8, 1]}, codes.WRONG_SHAPE),
        ({"shape": [0, 8, 8, 1], "data": []}, codes.WRONG_SHAPE),
        ({"shape": [-2, 8, 8, 1]}, codes.WRONG_SHAPE),
        ({"shape": [1 << 62, 8]}, codes.WRONG_SHAPE),
        ({"shape": [1] * 70}, codes.WRONG_SHAPE),
        ({"data": [1]}, codes.WRONG_SHAPE),
        ({"data": [[1], [1, 2]]}, codes.WRONG_SHAPE),
        ({"data": ["a"] * 64}, codes.WRONG_DTYPE),
        ({"data": [300] * 64}, codes.WRONG_DTYPE),
        ({"datatype": "BYTES"}, codes.WRONG_DTYPE),
        ({"datatype": 7}, codes.BAD_JSON),
        ({"shape": "wide"}, codes.BAD_JSON),
        ({"shape": [1.5]}, codes.BAD_JSON),
    ],
    ids=str,
)
def test_an_open_inference_request_that_does_not_fit_is_refused(tensor: dict[str, Any], code: str) -> None:
    assert code_of(request_of(**tensor)) == code


def test_an_open_inference_request_has_exactly_one_input() -> None:
    one = json.loads(request_of())["inputs"]
    assert code_of(json.dumps({"inputs": one + one})) == codes.WRONG_SHAPE
    assert code_of(json.dumps({"inputs": []})) == codes.WRONG_SHAPE


# ----------------------------------------------------------------- images


def test_a_gray_png_is_its_pixels() -> None:
    assert is_one(decode(picture(GRADIENT), GRAY), GRADIENT)
    assert is_one(decode(picture(GRADIENT), Decode((8, 8), "float32")), GRADIENT)


def test_a_color_png_is_its_pixels_and_alpha_is_left_out() -> None:
    assert is_one(decode(picture(COLORS), RGB), COLORS)
    transparent = np.dstack([COLORS, np.full((6, 4), 7, np.uint8)])
    assert is_one(decode(picture(transparent), RGB), COLORS)


def test_gray_and_color_become_what_the_sample_has() -> None:
    as_color = decode(picture(GRADIENT), Decode((8, 8, 3), "uint8")).samples[0]
    assert all(np.array_equal(as_color[..., channel], GRADIENT) for channel in range(3))
    as_gray = decode(picture(np.stack([GRADIENT] * 3, axis=-1)), GRAY)
    assert is_one(as_gray, GRADIENT)


def test_a_palette_png_is_the_colors_it_shows() -> None:
    two = Image.new("P", (4, 6))
    two.putpalette([10, 20, 30, 200, 100, 50])
    two.putpixel((1, 2), 1)
    sample = decode(encoded(two), RGB).samples[0]
    assert sample[2, 1].tolist() == [200, 100, 50]
    assert sample[0, 0].tolist() == [10, 20, 30]


def test_a_gray_png_of_16_bits_keeps_its_high_byte() -> None:
    """Pillow's own conversion would clip it: almost everything white."""
    deep = GRADIENT.astype(np.uint16) << 8 | 0x7F
    assert is_one(decode(picture(deep), GRAY), GRADIENT)
    assert decode(picture(deep), Decode((8, 8, 3), "uint8")).samples[0, 3, 3].tolist() == [GRADIENT[3, 3]] * 3


def test_a_png_of_one_bit_is_black_and_white() -> None:
    checks = Image.fromarray((np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)).convert("1")
    assert sorted(set(decode(encoded(checks), GRAY).samples.reshape(-1).tolist())) == [0, 255]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_about_its_pixels(mode: str) -> None:
    """A flat color survives compression, in every color space that JPEG has."""
    flat = Image.new("RGB", (4, 6), (120, 120, 120)).convert(mode)
    sample = decode(encoded(flat, "JPEG", quality=95), RGB).samples[0].astype(int)
    assert np.abs(sample - 120).max() <= 4
    assert np.abs(decode(encoded(flat, "JPEG", quality=95), GRAY).samples.astype(int) - 120).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3), (64, 64), (7, 9)])
def test_an_image_of_another_size_is_resized(kind: str, size: tuple[int, int]) -> None:
    """Left half black, right half white, before and after."""
    halves = Image.new("L", (max(size[0], 2), size[1]))
    halves.paste(255, (halves.width // 2, 0, halves.width, halves.height))
    sample = decode(encoded(halves, kind), GRAY).samples
    assert sample.shape == (1, 8, 8, 1)
    assert sample[0, :, 0].max() < 64 and sample[0, :, -1].min() > 191


def test_the_manifest_says_how_an_image_is_resized() -> None:
    checks = (np.indices((11, 11)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = {
        how: decode(picture(checks), Decode((8, 8, 1), "uint8", resize=how)).samples.tobytes()  # type: ignore[arg-type]
        for how in ("nearest", "bilinear", "bicubic")
    }
    assert set(found["nearest"]) == {0, 255}
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("spec", [Decode((3,), "uint8"), Decode((2, 2, 2, 2), "uint8"), Decode((5, 5, 4), "uint8")])
def test_a_sample_that_is_no_image_takes_none(spec: Decode) -> None:
    assert code_of(picture(GRADIENT), spec, content_type="image/png") == codes.UNSUPPORTED


def test_a_pixel_that_the_sample_cannot_hold_is_refused() -> None:
    """Rather than wrapped to another one."""
    signed = Decode((8, 8, 1), "int8")
    assert is_one(decode(picture(GRADIENT // 2), signed), GRADIENT // 2)
    assert code_of(picture(GRADIENT), signed) == codes.WRONG_DTYPE


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_cut_anywhere_is_refused(kind: str) -> None:
    data = picture(np.random.default_rng(3).integers(0, 256, (16, 16), dtype=np.uint8), kind)
    last = data.index(b"IEND") - 20 if kind == "PNG" else len(data) - 2  # what is behind the last pixel is not missed
    for end in range(9, last, 7):
        assert code_of(data[:end], content_type=f"image/{kind.lower()}") == codes.BAD_IMAGE


@pytest.mark.parametrize("payload", [b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM" + bytes(60), b"%PDF-1.4"])
def test_what_is_no_whole_picture_is_refused(payload: bytes) -> None:
    assert code_of(payload, content_type="image/png") == codes.BAD_IMAGE


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and has a few pixels."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100))),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((MAX_PIXELS // 1024, 1025), codes.TOO_LARGE),
        ((10_000, 10_000), codes.TOO_LARGE),  # where Pillow warns
        ((30_000, 30_000), codes.TOO_LARGE),  # where Pillow refuses
        ((0, 8), codes.BAD_IMAGE),
        ((1 << 31, 1), codes.TOO_LARGE),
    ],
)
def test_pixels_are_counted_before_memory_is_taken(size: tuple[int, int], code: str) -> None:
    with memory_limit(32 << 20), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code_of(png_of_size(*size)) == code


# ----------------------------------------------------------------- whatever comes


def with_good_checksums(data: bytes) -> bytes:
    """A damaged PNG whose chunks are taken for whole, so that their content is read."""
    fixed, position = bytearray(data[:8]), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + length]
        fixed += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position += 12 + length
    return bytes(fixed)


def images() -> list[bytes]:
    noise = Image.effect_noise((20, 17), 80)
    color = Image.merge("RGB", [noise] * 3)
    return [
        encoded(noise),
        encoded(color.convert("RGBA"), dpi=(72, 72)),
        encoded(color.quantize(16), transparency=3),
        encoded(color.convert("LA"), icc_profile=b"profile" * 9),
        picture(np.asarray(noise).astype(np.uint16) << 6),
        encoded(color, "JPEG", progressive=True),
        encoded(color.convert("CMYK"), "JPEG"),
        encoded(color, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    ]


@pytest.mark.filterwarnings("error")
def test_a_damaged_image_is_decoded_or_refused() -> None:
    """Many, at random: neither another exception nor a warning, which would be lines in the log."""
    choice = random.Random(2)
    found: set[str] = set()
    for image in images():
        for _ in range(150):
            damaged = bytearray(image)
            for _ in range(choice.randint(1, 6)):
                damaged[choice.randrange(8, choice.choice([60, len(damaged)]))] = choice.choice(
                    [0, 255, choice.randrange(256)]
                )
            payload = with_good_checksums(damaged) if image[0] == 0x89 and choice.random() < 0.8 else bytes(damaged)
            found.add(outcome(payload, choice.choice([GRAY, RGB, Decode((8, 8, 3), "float32")])))
    assert {"decoded", codes.BAD_IMAGE} <= found


def outcome(payload: bytes, spec: Decode, **how: Any) -> str:
    try:
        decoded = decode(payload, spec, **how)
    except DecodeError as error:
        assert error.code in codes.MEANING
        return error.code
    assert decoded.samples.shape[1:] == spec.shape and decoded.samples.dtype == spec.dtype
    assert np.isfinite(decoded.samples).all()
    assert decoded.batched or len(decoded.samples) == 1
    return "decoded"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["inputs", "id", "name", "shape", "datatype", "data"]), inner, max_size=4)
    ),
)


@pytest.mark.filterwarnings("error")
@given(st.binary(max_size=200), st.sampled_from(SPECS), st.sampled_from([None, "raw", "json", "image", "audio"]))
def test_any_bytes_are_decoded_or_refused(payload: bytes, spec: Decode, form: Any) -> None:
    outcome(payload, spec, configured=form)


@pytest.mark.filterwarnings("error")
@given(JSON, st.sampled_from(SPECS))
def test_any_json_is_decoded_or_refused(document: Any, spec: Decode) -> None:
    outcome(json.dumps(document).encode(), spec, content_type="application/json")


@given(st.sampled_from(SPECS), st.data())
def test_what_json_says_is_what_raw_bytes_say(spec: Decode, data: st.DataObject) -> None:
    size = int(np.prod(spec.shape))
    numbers = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    values = np.asarray(numbers).reshape(spec.shape).astype(spec.dtype)
    from_raw = decode(values.tobytes(), spec, "application/octet-stream")
    from_json = decode(json.dumps([values.tolist()]).encode(), spec, "application/json")
    np.testing.assert_array_equal(from_raw.samples, from_json.samples)
    assert from_raw.samples.dtype == from_json.samples.dtype == spec.dtype
