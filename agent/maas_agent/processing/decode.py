"""Payloads to samples: raw tensor bytes, JSON, PNG, JPEG and WAV; one sample or a batch of them.

Untrusted bytes end here: every bound is checked before memory is taken, and whatever is wrong becomes a
`DecodeError` with a code.
"""

import io
import re
import warnings
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing import audio
from maas_agent.processing.content import Form, form_of
from maas_agent.processing.inference import Request, numbers, request_tensor
from maas_agent.untrusted import MALFORMED

if TYPE_CHECKING:
    from PIL import Image

MAX_BATCH = 1024
MAX_PIXELS = 1 << 26

_NOT_FINITE = re.compile(rb"-?\b(NaN|Infinity)\b")
_INTEGER_LIMITS = {"int8", "uint8", "int16", "int32", "int64", "bool"}


class Decoded(msgspec.Struct, frozen=True):
    """Samples of one payload: (N, …sample), in the sample's dtype."""

    samples: NDArray[np.generic]
    batched: bool
    """Whether the payload was a batch; a single sample is answered with one result, a batch with a list."""
    request: Request | None = None
    """The Open Inference Protocol request this came from, if it was one."""


def decode(
    payload: bytes | memoryview,
    spec: Decode,
    content_type: str | None = None,
    configured: Form | None = None,
) -> Decoded:
    """Decode one payload as ``spec`` says.

    Raises `DecodeError` with one of the codes in `maas_agent.codes`.
    """
    if not payload:
        raise DecodeError(codes.EMPTY, "the payload is empty")
    data = bytes(payload)
    form = form_of(data, content_type, configured, spec.sample_bytes)
    if form == "raw":
        return _raw(data, spec)
    if form == "json":
        return _json(data, spec)
    if form == "audio":
        return Decoded(samples=audio.sample_of(data, spec)[np.newaxis], batched=False)
    return Decoded(samples=_image(data, spec)[np.newaxis], batched=False)


def as_samples(values: NDArray[np.generic], spec: Decode) -> Decoded:
    """Fit an array to the sample's shape and dtype: one sample, or a batch with a leading dimension.

    Values must be finite and must not change by the conversion to an integer type; raises `DecodeError`.
    """
    if not np.all(np.isfinite(values)):
        raise DecodeError(codes.NOT_FINITE, "a value is NaN or infinite")
    batched = values.ndim == len(spec.shape) + 1
    if not batched and values.shape != spec.shape:
        if values.ndim != 1 or values.size != prod(spec.shape):
            raise _wrong_shape(values.shape, spec)
        values = values.reshape(spec.shape)
    if batched and values.shape[1:] != spec.shape:
        raise _wrong_shape(values.shape, spec)
    samples = values if batched else values[np.newaxis]
    if not len(samples):
        raise _wrong_shape(values.shape, spec)
    if len(samples) > MAX_BATCH:
        raise DecodeError(codes.TOO_LARGE, f"a batch has at most {MAX_BATCH} samples, this one has {len(samples)}")
    return Decoded(samples=_cast(samples, spec), batched=batched)


def _raw(data: bytes, spec: Decode) -> Decoded:
    count, rest = divmod(len(data), spec.sample_bytes)
    if rest or not count:
        raise DecodeError(
            codes.WRONG_SHAPE,
            f"{len(data)} bytes are no whole number of samples: "
            f"one is {list(spec.shape)} {spec.dtype}, {spec.sample_bytes} bytes",
        )
    if count > MAX_BATCH:
        raise DecodeError(codes.TOO_LARGE, f"a batch has at most {MAX_BATCH} samples, this one has {count}")
    samples = np.frombuffer(data, dtype=spec.dtype).reshape(count, *spec.shape)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise DecodeError(codes.NOT_FINITE, "a value is NaN or infinite")
    return Decoded(samples=samples, batched=count > 1)


def _json(data: bytes, spec: Decode) -> Decoded:
    try:
        document: Any = msgspec.json.decode(data)
    except MALFORMED as error:
        if _NOT_FINITE.search(data):
            raise DecodeError(codes.NOT_FINITE, "the JSON holds NaN or Infinity") from None
        raise DecodeError(codes.BAD_JSON, f"not JSON: {error}") from None
    if isinstance(document, dict):
        request = _request(document)
        decoded = as_samples(request_tensor(request), spec)
        return Decoded(samples=decoded.samples, batched=decoded.batched, request=request)
    return as_samples(_array(document), spec)


def _request(document: dict[str, Any]) -> Request:
    try:
        return msgspec.convert(document, Request)
    except msgspec.ValidationError as error:
        raise DecodeError(codes.BAD_JSON, f"neither an array nor an Open Inference Protocol request: {error}") from None


def _array(document: Any) -> NDArray[np.generic]:
    if not isinstance(document, list):
        raise DecodeError(codes.BAD_JSON, "send an array or an Open Inference Protocol request")
    return numbers(document)


def _image(data: bytes, spec: Decode) -> NDArray[np.generic]:
    # Imported late: a pipeline that never sees an image does not pay for Pillow.
    from PIL import Image, UnidentifiedImageError

    if len(spec.shape) not in (2, 3):
        raise DecodeError(codes.UNSUPPORTED, f"a sample {list(spec.shape)} is no image: send raw bytes or JSON")
    height, width = spec.shape[:2]
    resampling = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
    try:
        # Pillow warns of many pixels (here they are counted) and of odd metadata (here they are not used).
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError(
                    codes.TOO_LARGE, f"{image.width} x {image.height} pixels, at most {MAX_PIXELS} are read"
                )
            image.draft("L" if _channels(spec) == 1 else "RGB", (width, height))
            picture = _eight_bits(image).convert("L" if _channels(spec) == 1 else "RGB")
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(codes.TOO_LARGE, f"more than {MAX_PIXELS} pixels: {error}") from None
    except Exception as error:  # Pillow raises what its parsers stumble over: OSError, SyntaxError, AssertionError, …
        reason = "cannot identify PNG or JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DecodeError(codes.BAD_IMAGE, f"damaged or truncated image: {reason}") from None
    if picture.size != (width, height):
        picture = picture.resize((width, height), resampling.get(spec.resize, Image.Resampling.BICUBIC))
    return _cast(np.asarray(picture).reshape(spec.shape), spec)


def _eight_bits(image: "Image.Image") -> "Image.Image":
    """The high byte of 16-bit gray, as Pillow does with 16-bit color; it would clip gray at 255, to white."""
    from PIL import Image

    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I") else image


def _channels(spec: Decode) -> int:
    if len(spec.shape) == 2:
        return 1
    if spec.shape[2] not in (1, 3):
        raise DecodeError(codes.UNSUPPORTED, f"an image has 1 or 3 channels, the sample has {spec.shape[2]}")
    return spec.shape[2]


def _cast(samples: NDArray[np.generic], spec: Decode) -> NDArray[np.generic]:
    if spec.dtype in _INTEGER_LIMITS:
        with np.errstate(invalid="ignore"):
            cast = samples.astype(spec.dtype)
        if not np.array_equal(cast, samples):
            raise DecodeError(codes.WRONG_DTYPE, f"a value does not fit {spec.dtype}")
        return cast
    with np.errstate(over="ignore"):
        cast = samples.astype(spec.dtype)
    if not np.isfinite(cast).all():
        raise DecodeError(codes.WRONG_DTYPE, f"a value does not fit {spec.dtype}")
    return cast


def _wrong_shape(shape: tuple[int, ...], spec: Decode) -> DecodeError:
    sample = ", ".join(map(str, spec.shape))
    return DecodeError(codes.WRONG_SHAPE, f"shape {list(shape)}: a sample is [{sample}], a batch [N, {sample}]")
