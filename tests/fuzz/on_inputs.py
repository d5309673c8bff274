"""What an input is made of: JSON, requests, text, pictures, sound, raw bytes, data files; every dtype and rank."""

import base64
import io
import json
import struct
from functools import lru_cache
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode, DType, Input, LogMel, Normalize, Quantization, Scale, Tensor, check_input
from maas_agent.errors import DataError, DecodeError, NoInputError
from maas_agent.offline import samples
from maas_agent.processing.content import Form
from maas_agent.processing.decode import MAX_BATCH, decode
from maas_agent.processing.fit import fitted
from maas_agent.processing.npz import read_arrays
from maas_agent.processing.preprocess import preprocessor
from maas_agent.processing.table import read_table
from tests.fuzz.registry import check_sentence, scratch, target

_DTYPES: tuple[DType, ...] = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")
_CODES = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, str)}
_SIXTEEN = Quantization(1 / 255, -128)


@lru_cache(maxsize=1)
def edges() -> tuple[Input, ...]:
    """Inputs of manifests: every dtype and rank, and every preprocessing step."""
    plain = [
        Input(
            Tensor("x", (1, *shape), dtype),
            Decode(shape, dtype, sample_rate=rate, color="gray" if shape[-1:] == (1,) else "rgb"),
        )
        for dtype in _DTYPES
        for shape, rate in (((4,), 0), ((8, 8, 1), 0), ((6, 5, 3), 0), ((2, 3), 0), ((), 0), ((400,), 16000))
        if not rate or dtype in ("float32", "float16", "int16")
    ]
    made = [
        Input(Tensor("x", (1, 6, 5, 3), "uint8"), Decode((6, 5, 3), "uint8", background=(9, 99, 255))),
        Input(
            Tensor("x", (1, 6, 5, 1), "uint8"),
            Decode((6, 5, 1), "uint8", "gray", orientation="stored", background=(255,)),
        ),
        Input(Tensor("x", (1, 8, 8, 1), "int8", _SIXTEEN), Decode((8, 8, 1), "uint8", "gray"), (Scale(1 / 255),)),
        Input(
            Tensor("x", (1, 6, 5, 3), "float32"),
            Decode((6, 5, 3), "uint8"),
            (Normalize((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)),),
        ),
        Input(
            Tensor("x", (1, 7, 10), "float32"),
            Decode((400,), "float32", sample_rate=16000),
            (LogMel(16000, 160, 40, 10, coefficients=10),),
        ),
        Input(Tensor("x", (1, 4), "int32", Quantization(1e-6, 7)), Decode((4,), "float32"), (Scale(1e30, -1e30),)),
        Input(Tensor("x", (1, 4), "uint8", Quantization(0.5, 3)), Decode((4,), "int64")),
    ]
    for edge in (*plain, *made):
        check_input(edge)
    return (*plain, *made)


@lru_cache(maxsize=64)
def _step(at: int) -> Any:
    return preprocessor(edges()[at])


def _through(data: bytes, at: int, content_type: str | None = None, form: Form | None = None) -> None:
    at %= len(edges())
    edge = edges()[at]
    try:
        decoded = decode(data, edge.decode, content_type, form)
    except DecodeError as error:
        assert error.code in _CODES, error.code
        raise
    found = decoded.samples
    assert found.shape[1:] == edge.decode.shape and found.dtype == np.dtype(edge.decode.dtype)
    assert 1 <= len(found) <= MAX_BATCH
    assert found.dtype.kind != "f" or np.isfinite(found).all()
    tensor = _step(at)(found[0])
    assert tensor.shape == edge.tensor.shape and tensor.dtype == np.dtype(edge.tensor.dtype)


def _arrays() -> list[bytes]:
    found = []
    for at, edge in enumerate(edges()):
        rows = (np.arange(prod(edge.decode.shape)) % 2).reshape(edge.decode.shape).tolist()
        found += [bytes((at,)) + json.dumps(each).encode() for each in ([rows, rows], rows)]
    return found


def _each(payloads: list[bytes]) -> list[bytes]:
    return [bytes((at,)) + payload for at in range(len(edges())) for payload in payloads]


@target(
    "input.json",
    "a JSON array, for an input of any dtype and shape",
    _arrays,
    DecodeError,
    form="1+json",
    words=(
        b"[",
        b"]",
        b",",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"true",
        b"null",
        b'"a"',
        b"18446744073709551616",
        b"{}",
        b"0.1e-400",
    ),
)
def json_array(data: bytes) -> None:
    _through(data[1:], data[0] if data else 0, "application/json")


def _requests() -> list[bytes]:
    found = []
    for datatype, values in (
        ("FP32", [1, 2.5, -3, 0]),
        ("UINT8", [1, 2, 3, 255]),
        ("BOOL", [True, False, True, True]),
        ("INT64", [1, 2, 3, 4]),
    ):
        tensor = {"name": "x", "shape": [1, 4], "datatype": datatype, "data": values}
        found.append({"id": "7", "inputs": [tensor], "parameters": {"a": 1}})
        found.append({"inputs": [{**tensor, "shape": [4], "data": [values]}], "outputs": [{"name": "y"}]})
    return [json.dumps(each).encode() for each in found]


@target("input.request", "an Open Inference Protocol request", _requests, DecodeError, form="json")
def request(data: bytes) -> None:
    for at in (0, 11, 17, 23, 41, 55):
        try:
            _through(data, at, "application/json")
        except DecodeError as error:
            check_sentence(str(error))


def _picture(data: bytes) -> None:
    images = [at for at, edge in enumerate(edges()) if edge.decode.dtype == "uint8" and len(edge.decode.shape) > 1]
    for at in images:
        try:
            _through(data, at, None, "image")
        except DecodeError as error:
            check_sentence(str(error))


def _png(mode: str = "RGB", size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new(mode, size, 1 if mode != "P" else 0).save(made, "PNG", **options)
    return made.getvalue()


def _jpeg(mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert(mode).save(made, "JPEG", **options)
    return made.getvalue()


@target(
    "input.png",
    "a PNG file",
    lambda: (
        [_png(mode) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "I;16")]
        + [_png(icc_profile=b"x" * 50), _png(dpi=(72, 72))]
    ),
    DecodeError,
    form="png",
    share=0.3,
)
def png(data: bytes) -> None:
    _picture(data)


@target(
    "input.jpeg",
    "a JPEG file",
    lambda: [
        _jpeg("RGB"),
        _jpeg("L", progressive=True),
        _jpeg("CMYK"),
        _jpeg("RGB", quality=1, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    ],
    DecodeError,
    words=(
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xda",
        b"\xff\xdb",
        b"\xff\xe1",
        b"\xff\xdd",
        b"\xff\xee",
    ),
    share=0.3,
)
def jpeg(data: bytes) -> None:
    _picture(data)


def _pictured(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    noise = Image.effect_noise((11, 7), 60)
    (noise.convert("RGB").quantize(9) if mode == "P" else noise.convert(mode)).save(made, kind, **options)
    return made.getvalue()


def _exif(orientation: int) -> bytes:
    from PIL import Image

    said = Image.Exif()
    said[0x0112] = orientation
    return said.tobytes()


@target(
    "input.bmp",
    "a BMP file",
    lambda: [_pictured("BMP", mode) for mode in ("RGB", "L", "1", "P", "RGBA")] + [_packed_bmp()],
    DecodeError,
    words=(b"BM", b"\x28\0\0\0", b"\1\0\0\0", b"\2\0\0\0", b"\0\2\xff\xff", b"\0\1", b"\0\0"),
    share=0.3,
)
def bmp(data: bytes) -> None:
    _picture(data)


def _packed_bmp() -> bytes:
    """8 x 4, run-length encoded: runs, a delta, an end of line, the end."""
    body = b"\x08\1\0\0\4\2\0\2\2\1\3\1\0\0\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(body), 0, 0, 4, 0) + bytes(range(16))
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


@target(
    "input.gif",
    "a GIF file",
    lambda: [
        _pictured("GIF", "P"),
        _pictured("GIF", "L", interlace=1),
        _pictured("GIF", "P", transparency=1, comment=b"x" * 300),
        _pictured("GIF", "P", loop=0, duration=5),
    ],
    DecodeError,
    words=(b"GIF89a", b"!\xf9\4", b"!\xff\x0b", b"!\xfe", b",", b";", b"\0"),
    share=0.3,
)
def gif(data: bytes) -> None:
    _picture(data)


@target(
    "input.webp",
    "a WebP file",
    lambda: [
        _pictured("WEBP", lossless=True),
        _pictured("WEBP", quality=30),
        _pictured("WEBP", "RGBA"),
        _pictured("WEBP", lossless=True, exif=_exif(6), icc_profile=b"x" * 40, xmp=b'tiff:Orientation="3"'),
    ],
    DecodeError,
    words=(b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"\xff\x3f", b"/"),
    share=0.3,
)
def webp(data: bytes) -> None:
    _picture(data)


@target(
    "input.tiff",
    "a TIFF file",
    lambda: [
        *(_pictured("TIFF", mode) for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "I;16", "CMYK", "F")),
        *(_pictured("TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        _pictured("TIFF", exif=_exif(6)),
        _pictured("TIFF", "L", big_tiff=True),
    ],
    DecodeError,
    words=(b"II*\0", b"MM\0*", b"\0\1\3\0", b"\x11\1\4\0", b"\x42\1\3\0", b"\x03\1\3\0", b"\xff\xff\xff\xff"),
    share=0.3,
)
def tiff(data: bytes) -> None:
    _picture(data)


def _texts() -> list[bytes]:
    """Pictures and numbers as text, bare and in JSON."""
    picture = base64.b64encode(_png(size=(4, 3))).decode()
    url = f"data:image/png;base64,{picture}"
    documents: list[Any] = [
        url,
        [picture, url],
        {"image": url},
        {"data": {"b64": picture}},
        {"instances": [{"b64": url}]},
    ]
    documents.append({"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [picture]}]})
    plain = [b"21.5", b"ON\0\0", b"1013.250", b"\xef\xbb\xbf-3e1", "\ufeff7.25".encode("utf-16-le"), b"21,5 \xc2\xb0C"]
    return [*plain, picture.encode(), url.encode(), *(json.dumps(each).encode() for each in documents)]


@target(
    "input.text",
    "text: numbers, words, pictures as base64 and data URLs, bare and in JSON",
    _texts,
    DecodeError,
    words=(
        b"data:",
        b";base64,",
        b"image/png",
        b"iVBORw0KGgo",
        b"/9j/",
        b"UklGR",
        b"%ff",
        b'{"image":"',
        b"\xff\xfe",
        b"\0",
        b"=",
    ),
)
def text(data: bytes) -> None:
    for at in (0, 1, 2, 5, 6, 9, 14, 20, 26):
        for content_type in (None, "application/json"):
            try:
                _through(data, at, content_type)
            except DecodeError as error:
                check_sentence(str(error))


def wav(
    bits: int = 16, channels: int = 1, rate: int = 16000, frames: int = 100, kind: int = 1, extra: bytes = b""
) -> bytes:
    block = channels * bits // 8
    body = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits) + extra
    data = bytes(range(256)) * (frames * block // 256 + 1)
    data = b"\0" * (frames * block) if kind == 3 else data[: frames * block]
    chunks = (
        b"fmt "
        + struct.pack("<I", len(body))
        + body
        + b"LIST\4\0\0\0abcd"
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def _waves() -> list[bytes]:
    extensible = struct.pack("<HHI", 22, 16, 4) + b"\1\0" + bytes.fromhex("000000001000800000aa00389b71")
    return [wav(bits) for bits in (8, 16, 24, 32)] + [
        wav(32, kind=3),
        wav(64, kind=3, channels=2),
        wav(rate=44100, channels=2),
        wav(rate=8000),
        wav(rate=11025, frames=3),
        wav(rate=384000),
        wav(rate=1, frames=30),
        wav(kind=0xFFFE, extra=extensible),
        wav()
        .replace(b"RIFF", b"RF64")
        .replace(b"LIST\4\0\0\0abcd", b"ds64\x1c\0\0\0" + struct.pack("<QQQI", 9, 200, 100, 0)),
        _rifx(),
        wav().replace(b"data\xc8\0\0\0", b"data\0\0\0\0"),
    ]


def _rifx() -> bytes:
    layout = struct.pack(">HHIIHH", 1, 1, 16000, 32000, 2, 16)
    chunks = b"WAVEfmt \0\0\0\x10" + layout + b"data\0\0\0\xc8" + bytes(range(200))
    return b"RIFX" + struct.pack(">I", len(chunks)) + chunks


@target(
    "input.wav",
    "a WAV file",
    _waves,
    DecodeError,
    words=(b"fmt ", b"data", b"LIST", b"ds64", b"RF64", b"RIFX", b"\xff\xff\xff\x7f", b"\xfe\xff"),
    share=0.3,
)
def wave(data: bytes) -> None:
    for at in (5, 11, 25, 28):
        _sound(data, at)


def _sound(data: bytes, at: int) -> None:
    sound = [number for number, edge in enumerate(edges()) if edge.decode.sample_rate]
    try:
        _through(data, sound[at % len(sound)], "audio/wav")
    except DecodeError as error:
        check_sentence(str(error))


@target(
    "input.any",
    "an input that does not say what it is, or says so in a content type",
    lambda: (
        [
            *_each(
                [
                    b"\x00" * 4,
                    b"\x00" * 64,
                    b"[1,2,3,4]",
                    b"\x89PNG\r\n\x1a\n",
                    b"\xff\xd8\xff",
                    b"RIFF\x00\x00\x00\x00WAVE",
                    b" {}",
                ]
            ),
            b"\x85text/json\x00[1,2,3,4]",
        ]
    ),
    DecodeError,
    words=(b"application/json", b"image/png", b";", b"\0"),
)
def anything(data: bytes) -> None:
    at, rest = (data[0] if data else 0), data[1:]
    if at & 0x80:
        content_type, _, payload = rest.partition(b"\0")
        _through(payload, at, content_type.decode("utf-8", "replace"))
    else:
        _through(rest, at)


def _npz(**arrays: Any) -> bytes:
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def _npzs() -> list[bytes]:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    packed = io.BytesIO()
    np.savez_compressed(packed, x=x, y=np.arange(3), classes=np.array(["a", "b", "c"]))
    return [
        _npz(x=x),
        _npz(x=x.astype(np.uint8), y=np.array([0.5, 1, 2])),
        _npz(x=x.astype(">f8"), y=np.arange(3), classes=np.array(["a", "b", "c"])),
        packed.getvalue(),
        _npz(other=x[0]),
    ]


@target(
    "samples.npz",
    "an .npz file of samples",
    _npzs,
    DataError,
    form="zip",
    words=(b"PK\1\2", b"PK\3\4", b"PK\5\6"),
    share=0.3,
)
def npz(data: bytes) -> None:
    most = 1 << 24
    found = read_arrays(data, "data.npz", most, or_the_only_one=True)
    assert found.x.nbytes <= most and np.isfinite(found.x).all()
    assert fitted(found.x, Decode((4,), "float32"), "data.npz").shape == (len(found.x), 4)


_CSV = (
    b"a,b,c,d,label\n1,2,3,4,x\n5,6,7,8,y\n",
    b"1;2;3;4\n5;6;7;8\n",
    b"\xef\xbb\xbfa\tb\tc\td\ty\r\n1\t2\t3\t4\t0\r\n",
    b'"a","b""",c,d\n"1",2,3,4',
)
_CSV_WORDS = (
    b'"',
    b",",
    b"\n",
    b"\r",
    b";",
    b"\t",
    b"nan",
    b"inf",
    b"1e999",
    b"1_0",
    b"\0",
    "\u0661".encode(),
    b"y",
    b"label",
    b"\n\n",
)


@target("samples.csv", "a table of samples", lambda: list(_CSV), DataError, words=_CSV_WORDS)
def table(data: bytes) -> None:
    found = read_table(data, "data.csv")
    assert found.x.ndim == 2 and np.isfinite(found.x).all()
    assert found.labels is None or len(found.labels) == len(found.x)
    fitted(found.x, Decode((4,), "int8"), "data.csv")


@target(
    "samples.file",
    "a file that `infer` is given, whatever it is",
    lambda: [*_CSV, *_npzs(), b"[1,2,3,4]", b"\0" * 16, _png()],
    DataError,
    NoInputError,
    words=_CSV_WORDS,
    share=0.3,
)
def file(data: bytes) -> None:
    path = scratch() / "input"
    path.write_bytes(data)
    for spec in (Decode((4,), "float32"), Decode((2, 2), "uint8"), Decode((), "int64")):
        for each in islice(samples.inputs(str(path), spec, ("a", "b")), 100):
            assert each.content_type is None or len(each.payload) == spec.sample_bytes
