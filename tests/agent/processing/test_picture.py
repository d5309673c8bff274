"""Picture files: upright as Pillow makes them, of every kind that is read, over a colour, within bounds."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing.decode import MAX_PIXELS, decode
from tests.agent.memory import memory_limit

RGB = Decode((6, 4, 3), "uint8")
GRAY = Decode((6, 4, 1), "uint8", color="gray")
LYING = Decode((4, 6, 3), "uint8")
STORED = Decode((6, 4, 3), "uint8", orientation="stored")
COLORS = np.random.default_rng(5).integers(0, 256, (6, 4, 3), dtype=np.uint8)
KINDS = ["PNG", "BMP", "GIF", "WEBP", "TIFF"]
TYPES = {
    "PNG": ["image/png"],
    "JPEG": ["image/jpeg", "image/jpg"],
    "BMP": ["image/bmp", "image/x-ms-bmp"],
    "GIF": ["image/gif"],
    "WEBP": ["image/webp"],
    "TIFF": ["image/tiff"],
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}) | options)
    return buffer.getvalue()


def sample(payload: bytes, spec: Decode = RGB, **how: Any) -> NDArray[np.generic]:
    decoded = decode(payload, spec, **how)
    assert not decoded.batched
    return decoded.samples[0]


def refused(payload: bytes, spec: Decode = RGB, **how: Any) -> DecodeError:
    with pytest.raises(DecodeError) as found:
        decode(payload, spec, **how)
    return found.value


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


# ----------------------------------------------------------------- orientation


def shown(payload: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What Pillow's own rule makes of a file, of this width and height."""
    with Image.open(io.BytesIO(payload)) as image:
        image.load()  # turns a TIFF, which Pillow before 9.5 would turn a second time
        upright = (image if image.format == "TIFF" else ImageOps.exif_transpose(image)).convert("RGB")
    return np.asarray(upright if upright.size == size else upright.resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_picture_is_upright_as_pillow_makes_it(kind: str, orientation: int) -> None:
    """Pixels as they are, and with the size of the sample."""
    stored = COLORS if orientation < 5 else COLORS.transpose(1, 0, 2)
    payload = encoded(Image.fromarray(stored), kind, exif=exif(orientation))
    np.testing.assert_array_equal(sample(payload), shown(payload, (4, 6)))
    np.testing.assert_array_equal(sample(payload, LYING), shown(payload, (6, 4)))


def test_every_orientation_turns_the_same_picture_upright() -> None:
    """Without Pillow's rule: EXIF 2.32 says where the 0th row and the 0th column are."""
    sides = {
        1: COLORS,
        2: COLORS[:, ::-1],
        3: COLORS[::-1, ::-1],
        4: COLORS[::-1],
        5: COLORS.transpose(1, 0, 2),
        6: np.rot90(COLORS, 1),
        7: COLORS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLORS, -1),
    }
    for orientation, stored in sides.items():
        for kind in ("PNG", "WEBP", "TIFF"):
            payload = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif(orientation))
            np.testing.assert_array_equal(sample(payload), COLORS, err_msg=f"{kind} {orientation}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(4, 6), (64, 96), (300, 200)])
def test_a_jpeg_is_upright_also_where_it_is_read_smaller(orientation: int, size: tuple[int, int]) -> None:
    """Its blocks are read at a fraction of their size: what is nearest to a half-black picture is compared."""
    halves = Image.new("L", size)
    halves.paste(255, (size[0] // 2, 0, size[0], size[1] // 2))
    payload = encoded(halves.convert("RGB"), "JPEG", quality=95, exif=exif(orientation))
    difference = sample(payload).astype(int) - shown(payload, (4, 6))
    corners = difference[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.abs(corners).max() <= 24


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_the_stored_pixels_are_there_for_those_who_want_them(kind: str, orientation: int) -> None:
    payload = encoded(Image.fromarray(COLORS), kind, exif=exif(orientation))
    plain = encoded(Image.fromarray(COLORS), kind)
    np.testing.assert_array_equal(sample(payload, STORED), sample(plain))


def test_a_photo_that_holds_a_second_one_is_upright_too() -> None:
    """As phones write it: a JPEG with a smaller or deeper picture behind it (MPO)."""
    halves = Image.new("RGB", (64, 96))
    halves.paste((255, 0, 0), (32, 0, 64, 48))
    payload = encoded(halves, "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64))], exif=exif(6))
    difference = sample(payload).astype(int) - shown(payload, (4, 6))
    assert np.abs(difference[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 24


def test_xmp_says_it_too() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    payload = encoded(Image.fromarray(COLORS), "WEBP", xmp=xmp)
    np.testing.assert_array_equal(sample(payload), shown(payload, (4, 6)))


def test_an_orientation_that_cannot_be_read_is_none() -> None:
    """The pixels are there: a viewer shows them too."""
    plain = sample(encoded(Image.fromarray(COLORS), "PNG"))
    for bad in (
        exif(9),
        exif(0),
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        np.testing.assert_array_equal(sample(encoded(Image.fromarray(COLORS), "PNG", exif=bad)), plain)


# ----------------------------------------------------------------- kinds


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_pixels_that_it_shows(kind: str) -> None:
    """By its first bytes, by configuration and by every name of its type."""
    image = Image.fromarray(COLORS)
    payload = encoded(image.quantize(256) if kind == "GIF" else image, kind)
    expected = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
    np.testing.assert_array_equal(sample(payload), expected)
    np.testing.assert_array_equal(sample(payload, configured="image"), expected)
    for content_type in TYPES[kind]:
        np.testing.assert_array_equal(sample(payload, content_type=content_type), expected)
    if kind != "GIF":
        np.testing.assert_array_equal(expected, COLORS)


@pytest.mark.parametrize("kind", KINDS)
def test_gray_of_every_kind_is_the_gray_that_it_shows(kind: str) -> None:
    gray = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    np.testing.assert_array_equal(sample(encoded(Image.fromarray(gray), kind), GRAY)[..., 0], gray)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_may_be_compressed(compression: str | None) -> None:
    payload = encoded(Image.fromarray(COLORS), "TIFF", compression=compression)
    np.testing.assert_array_equal(sample(payload), COLORS)


def test_a_deep_gray_tiff_keeps_its_high_byte_and_one_without_a_white_is_refused() -> None:
    gray = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    deep = gray.astype(np.uint16) << 8 | 0x33
    np.testing.assert_array_equal(sample(encoded(Image.fromarray(deep), "TIFF"), GRAY)[..., 0], gray)
    for dtype in (np.int32, np.float32):
        error = refused(encoded(Image.fromarray(gray.astype(dtype)), "TIFF"), GRAY)
        assert error.code == codes.BAD_IMAGE and "as raw values" in str(error)


def test_of_a_film_the_first_picture_is_taken() -> None:
    first, second = Image.fromarray(COLORS), Image.fromarray(COLORS[::-1].copy())
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        frames = [image.quantize(256) if kind == "GIF" else image for image in (first, second)]
        payload = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(sample(payload), np.asarray(frames[0].convert("RGB")))


NOT_READ = {
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "PPM": b"P6\n2 2\n255\n",
    "Photoshop (PSD)": b"8BPS\0\1",
    "SVG": b"<svg xmlns=",
}


@pytest.mark.parametrize("name", NOT_READ)
@pytest.mark.parametrize("content_type", [None, "image/png", "image/jpeg"])
def test_a_kind_that_is_not_read_is_called_by_its_name(name: str, content_type: str | None) -> None:
    error = refused(NOT_READ[name] + bytes(range(50)), content_type=content_type)
    assert error.code == codes.BAD_IMAGE and f"this is {name}, which is not read" in str(error)
    assert all(kind in str(error) for kind in ("PNG", "JPEG", "BMP", "GIF", "WebP", "TIFF"))


@pytest.mark.parametrize(
    ("payload", "name"), [(b"%PDF-1.7 x", "PDF"), (b"\x93NUMPY\1\0v", "NumPy"), (b"\x1f\x8b\x08x", "gzip")]
)
def test_a_file_that_is_no_picture_is_called_by_its_name(payload: bytes, name: str) -> None:
    error = refused(payload)
    assert error.code == codes.UNSUPPORTED and name in str(error)


def test_raw_samples_that_begin_like_a_file_are_raw() -> None:
    for beginning in (b"BM", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\1\0", b"\xff\xfb", b"ID3"):
        pixels = np.frombuffer(beginning.ljust(72, b"\x99"), np.uint8).reshape(6, 4, 3)
        np.testing.assert_array_equal(sample(pixels.tobytes()), pixels)


@pytest.mark.parametrize("kind", [*KINDS, "JPEG"])
def test_a_picture_that_has_the_size_of_a_raw_sample_is_a_picture(kind: str) -> None:
    """As many pixels as its file has bytes: beyond its first ones it has what raw values have not."""
    payload = encoded(Image.fromarray(COLORS[..., 0]), kind)
    spec = Decode((len(payload), 1), "uint8", color="gray")
    np.testing.assert_array_equal(sample(payload, spec), sample(payload, spec, configured="image"))
    assert sample(payload, spec).tobytes() != payload


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_anywhere_is_decoded_or_refused(kind: str) -> None:
    payload = encoded(Image.effect_noise((20, 17), 80).convert("RGB"), kind)
    for end in range(30, len(payload) // 2, 9):
        assert refused(payload[:end], content_type="image/png").code == codes.BAD_IMAGE


# ----------------------------------------------------------------- over a colour


def over(image: Image.Image, color: tuple[int, int, int]) -> NDArray[np.int64]:
    """Pillow's own composition."""
    ground = Image.new("RGBA", image.size, (*color, 255))
    return np.asarray(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")).astype(int)


def transparent() -> dict[str, bytes]:
    """Pictures with every form of transparency."""
    color = Image.fromarray(np.dstack([COLORS, np.arange(24, dtype=np.uint8).reshape(6, 4) * 11]))
    palette = Image.fromarray(COLORS).quantize(8)
    one = tuple(int(value) for value in COLORS[2, 1])
    return {
        "RGBA": encoded(color, "PNG"),
        "LA": encoded(color.convert("LA"), "PNG"),
        "palette": encoded(palette, "PNG", transparency=3),
        "palette with alpha": encoded(palette, "PNG", transparency=bytes([0, 128, 255, 7, 90])),
        "one color": encoded(Image.fromarray(COLORS), "PNG", transparency=one),
        "one gray": encoded(Image.fromarray(COLORS[..., 0]), "PNG", transparency=int(COLORS[3, 2, 0])),
        "GIF": encoded(palette, "GIF", transparency=3),
        "WebP": encoded(color, "WEBP", exact=True),
        "TIFF": encoded(color, "TIFF"),
    }


@pytest.mark.filterwarnings("ignore:Palette images:UserWarning")
@pytest.mark.parametrize("name", transparent())
@pytest.mark.parametrize("color", [(255, 255, 255), (10, 200, 30), (0, 0, 0)])
def test_what_is_transparent_shows_the_background(name: str, color: tuple[int, int, int]) -> None:
    payload = transparent()[name]
    image = Image.open(io.BytesIO(payload))
    found = sample(payload, Decode((6, 4, 3), "uint8", background=color)).astype(int)
    assert np.abs(found - over(image, color)).max() <= 1  # roundings of two compositions
    np.testing.assert_array_equal(sample(payload), np.asarray(image.convert("RGB")))  # without a background: left out


def test_the_background_of_a_gray_sample() -> None:
    half = encoded(Image.fromarray(np.full((6, 4, 2), (100, 128), np.uint8), "LA"), "PNG")
    for background in ((255,), (255, 255, 255)):
        found = sample(half, Decode((6, 4, 1), "uint8", color="gray", background=background)).astype(int)
        assert np.abs(found - (100 * 128 + 255 * 127) / 255).max() <= 1


def test_the_transparent_gray_of_16_bits_is_one_of_65536() -> None:
    deep = np.full((6, 4), 0x2233, np.uint16)
    deep[0, 0], deep[0, 1] = 0x2234, 0x9000
    payload = with_chunk(encoded(Image.fromarray(deep), "PNG"), b"tRNS", struct.pack(">H", 0x2233))
    found = sample(payload, Decode((6, 4, 1), "uint8", color="gray", background=(255,)))[..., 0]
    assert found[0, 0] == 0x22 and found[0, 1] == 0x90
    assert (found.reshape(-1)[2:] == 255).all()


def test_the_transparent_color_of_16_bits_is_compared_by_its_high_bytes() -> None:
    """Of such pictures 8 bits are read."""
    rows = b"".join(b"\0" + struct.pack(">6H", 0x1122, 0x3344, 0x5566, 0x9922, 0x3344, 0x5566) for _ in range(3))
    header = struct.pack(">IIBBBBB", 2, 3, 16, 2, 0, 0, 0)
    deep = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
    payload = with_chunk(deep + png_chunk(b"IEND", b""), b"tRNS", struct.pack(">3H", 0x1122, 0x3344, 0x5566))
    found = sample(payload, Decode((3, 2, 3), "uint8", background=(1, 2, 3)))
    assert found[:, 0].tolist() == [[1, 2, 3]] * 3 and found[:, 1].tolist() == [[0x99, 0x33, 0x55]] * 3


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    """A PNG with one chunk more, behind its header."""
    return png[:33] + png_chunk(name, body) + png[33:]


# ----------------------------------------------------------------- bounds


def bmp(width: int, height: int, compression: int = 0, body: bytes = b"") -> bytes:
    bits = 8 if compression else 24
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, 1 if compression else 0, 0
    )
    palette = bytes(4) if compression else b""
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


def gif(width: int, height: int) -> bytes:
    frame = b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02L\x01\0;"
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0x80, 0, 0) + bytes(6) + frame


def webp(width: int, height: int) -> bytes:
    body = b"WEBPVP8X\x0a\0\0\0\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width: int, height: int, tile: int = 0) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    tags += (
        [(322, 4, tile), (323, 4, tile), (324, 4, 8), (325, 4, 8)]
        if tile
        else [(273, 4, 8), (278, 4, height), (279, 4, 8)]
    )
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(20)


@pytest.mark.parametrize(
    "payload",
    [
        bmp(30_000, 30_000),
        bmp(1 << 24, 1, 1, b"\0\2\xff\xff" * 50),
        gif(65_535, 65_535),
        webp(1 << 14, 1 << 14),
        tiff(30_000, 30_000),
        tiff(8, 8, 1 << 15),
    ],
    ids=["BMP", "BMP of one row", "GIF", "WebP", "TIFF", "TIFF tiles"],
)
def test_pixels_are_counted_before_memory_is_taken(payload: bytes) -> None:
    with memory_limit(48 << 20):
        assert refused(payload, content_type="image/png").code == codes.TOO_LARGE


def test_pixels_of_a_batch_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import base64
    import json

    monkeypatch.setattr("maas_agent.processing.decode.MAX_PIXELS", 50)
    text = base64.b64encode(encoded(Image.fromarray(COLORS), "PNG")).decode()
    assert len(decode(json.dumps([text] * 2).encode(), RGB).samples) == 2
    assert refused(json.dumps([text] * 3).encode()).code == codes.TOO_LARGE


def test_the_largest_side_is_no_reason() -> None:
    wide = encoded(Image.new("RGB", (MAX_PIXELS >> 10, 1)), "PNG")
    assert sample(wide).shape == (6, 4, 3)


def test_a_kind_whose_codec_is_not_there_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = encoded(Image.fromarray(COLORS), "WEBP")
    monkeypatch.setattr("PIL.WebPImagePlugin.SUPPORTED", False)
    assert features.check("webp")
    error = refused(payload)
    assert error.code == codes.BAD_IMAGE and "WebP" in str(error)
