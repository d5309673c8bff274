"""Payloads to samples: raw tensor bytes, JSON, numbers as text, pictures and sound; one sample or a batch of them.

Untrusted bytes end here: every bound is checked before memory is taken, and whatever is wrong becomes a
`DecodeError` with a code.
"""

import re
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing import audio, picture
from maas_agent.processing.content import Form, form_of, form_of_type
from maas_agent.processing.embedded import File, file_in, is_embedded
from maas_agent.processing.inference import BYTES, OpenInferenceRequest, numbers, request_tensor
from maas_agent.processing.magic import kind_of, not_read
from maas_agent.processing.marks import without_mark
from maas_agent.processing.picture import MAX_PIXELS
from maas_agent.processing.text import NOT_FINITE, NUMBER, instead_of_raw, printed

MAX_BATCH = 1024

CARRIERS = ("image", "img", "picture", "photo", "audio", "sound", "b64", "base64", "data")
"""Keys under which an object holds a picture or a recording."""
_INNER = ("b64", "base64", "data", "value", "url")
"""Keys of an object in the place of its text."""

_SEND = (
    "send an array, an Open Inference Protocol request, or a picture or a recording as base64 under "
    f"one of {', '.join(CARRIERS)}"
)
_SAID: dict[str | None, Form] = {"image/*": "image", "audio/*": "audio"}
"""Types of files whose kind their own bytes tell."""
_LONGEST_SHOWN = 40
_LONGEST_WHOLE, _LONGEST_NUMBER = 20, 400
"""Characters of a number: what is longer has more than 64 bits; what is longer still is none."""

_NOT_FINITE = re.compile(rb"-?\b(NaN|Infinity)\b")
_INTEGER_LIMITS = {"int8", "uint8", "int16", "int32", "int64", "bool"}


class Decoded(msgspec.Struct, frozen=True):
    """Samples of one payload: (N, …sample), in the sample's dtype."""

    samples: NDArray[np.generic]
    batched: bool
    """Whether the payload was a batch; a single sample is answered with one result, a batch with a list."""
    request: OpenInferenceRequest | None = None
    """The Open Inference Protocol request this came from, if it was one."""


def decode(
    payload: bytes | memoryview,
    spec: Decode,
    content_type: str | None = None,
    configured: Form | None = None,
) -> Decoded:
    """Decode one payload as ``spec`` says.

    Raises `DecodeError` with one of the codes in `maas_agent.base.codes`.
    """
    if not payload:
        raise DecodeError(codes.EMPTY, "the payload is empty")
    data = bytes(payload)
    form = form_of(data, content_type, configured, spec.sample_bytes)
    if form == "raw" and not content_type and configured is None:
        text = instead_of_raw(data, spec)
        return _raw(data, spec) if text is None else _text(text, data, spec)
    return _of_form(data, form, spec)


def _of_form(data: bytes, form: Form, spec: Decode) -> Decoded:
    match form:
        case "raw":
            return _raw(data, spec)
        case "json":
            return _json(without_mark(data).rstrip(b"\0"), spec)  # C programs send the end of their strings too
        case "audio" | "image":
            return _files([_as_text(data) or File(data, f"{form}/*")], spec, batched=False)


def _as_text(data: bytes) -> File | None:
    """The file that is said to be here, if it came as base64 or as a data URL: such as a small camera sends it."""
    if kind_of(data) is not None or not data[:8].isascii():
        return None
    text = data.decode("ascii", "replace").rstrip("\0").strip()
    return file_in(text) if is_embedded(text) else None


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
        kind = kind_of(data)
        if kind is not None and not kind.reader:
            raise DecodeError(kind.code, not_read(kind))
        text = printed(data, spec) if len(data) <= _LONGEST_SHOWN else None
        raise DecodeError(
            codes.WRONG_SHAPE,
            f"{len(data)} bytes{f' ({text!r})' if text else ''} are no whole number of samples: "
            f"one is {list(spec.shape)} {spec.dtype}, {spec.sample_bytes} bytes",
        )
    if count > MAX_BATCH:
        raise DecodeError(codes.TOO_LARGE, f"a batch has at most {MAX_BATCH} samples, this one has {count}")
    samples = np.frombuffer(data, dtype=spec.dtype).reshape(count, *spec.shape)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise DecodeError(codes.NOT_FINITE, "a value is NaN or infinite")
    return Decoded(samples=samples, batched=count > 1)


def _text(text: str, data: bytes, spec: Decode) -> Decoded:
    """What stands where raw bytes could: a file as text, an array, a number for samples of one value."""
    if is_embedded(text):
        return _files([file_in(text)], spec, batched=False)
    if text[:1] in ("[", "{"):
        return _json(text.encode(), spec)
    if _number(text) is not None and len(data) == spec.sample_bytes <= 2:
        raise DecodeError(
            codes.BAD_JSON,
            f"{text!r} may be that number or a raw {spec.dtype}: say which by a content type or by content in the "
            'pipeline\'s source, "json" or "raw"',
        )
    return _of_number(text, spec)


def _of_number(text: str, spec: Decode) -> Decoded:
    """The sample of one value that a text is; else the error that says what is missing."""
    value = _number(text)
    said = repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
    if value is None:
        only = "a number, or " if prod(spec.shape) == 1 else ""
        comma = "; the decimal sign is a point" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
        raise DecodeError(
            codes.BAD_JSON,
            f"the text {said} is no sample: send {only}a JSON array{comma}; if these are raw bytes, say so by the "
            'content type application/octet-stream or by content = "raw" in the pipeline\'s source',
        )
    return _single(value, said, spec)


def _single(value: float, said: str, spec: Decode) -> Decoded:
    if prod(spec.shape) != 1:
        raise DecodeError(
            codes.BAD_JSON, f"{said} is one number: a sample has {prod(spec.shape)}, send an array of them"
        )
    return as_samples(numbers([value]).reshape(spec.shape), spec)


def _number(text: str) -> int | float | None:
    """The number that all of a text is; raises `DecodeError` if it is not finite."""
    if NOT_FINITE.fullmatch(text):
        raise DecodeError(codes.NOT_FINITE, f"the value is {text}")
    if not NUMBER.fullmatch(text):
        return None
    if len(text) <= _LONGEST_WHOLE and text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    if not np.isfinite(value):
        raise DecodeError(codes.NOT_FINITE, "the value is too large to be finite")
    return value


def _json(data: bytes, spec: Decode) -> Decoded:
    try:
        document: Any = msgspec.json.decode(data)
    except MALFORMED as error:
        text = data.strip()
        if len(text) <= _LONGEST_NUMBER and text.isascii() and _number(text.decode()) is not None:
            return _of_number(text.decode(), spec)  # as programs print it: +3, .5, 007
        if _NOT_FINITE.search(data):
            raise DecodeError(codes.NOT_FINITE, "the JSON holds NaN or Infinity") from None
        raise DecodeError(codes.BAD_JSON, f"not JSON: {error}") from None
    match document:
        case dict():
            return _object(document, spec)
        case str():
            return _files([file_in(document)], spec, batched=False)
        case bool() | None:
            raise DecodeError(codes.BAD_JSON, f"{msgspec.json.encode(document).decode()} is no sample: {_SEND}")
        case int() | float():
            return _single(document, str(document)[:40], spec)
        case _:
            return _rows(document, spec)


def _rows(document: list[Any], spec: Decode) -> Decoded:
    """An array: numbers, or files as text, of which each is a sample."""
    if document and all(isinstance(each, str) and is_embedded(each) for each in document):
        return _files([file_in(each) for each in document], spec, batched=True)
    return as_samples(numbers(document), spec)


def _object(document: dict[str, Any], spec: Decode) -> Decoded:
    if "inputs" in document:
        request = _request(document)
        decoded = _requested(request, spec)
        return Decoded(samples=decoded.samples, batched=decoded.batched, request=request)
    if isinstance(document.get("instances"), list):
        return _instances(document["instances"], spec)
    return _files([file_in(_carried(document))], spec, batched=False)


def _instances(instances: list[Any], spec: Decode) -> Decoded:
    """A request as TensorFlow Serving takes it, in rows: always a batch."""
    if instances and all(isinstance(each, dict) for each in instances):
        return _files([file_in(_carried(each)) for each in instances], spec, batched=True)
    decoded = _rows(instances, spec)
    if not decoded.batched and prod(spec.shape) != 1:
        raise DecodeError(codes.WRONG_SHAPE, "instances is a list of samples, this one is a sample itself")
    return Decoded(samples=decoded.samples, batched=True)


def _carried(document: dict[str, Any]) -> str:
    """The text of a file that an object holds, or an object in it: ``{"image": "…"}``, ``{"image": {"b64": "…"}}``."""
    named = [key for key in CARRIERS if key in document]
    if len(named) != 1:
        found = f"it has {' and '.join(named)}" if named else "it has none of the keys that are known"
        raise DecodeError(codes.BAD_JSON, f"an object that is no sample, {found}: {_SEND}")
    value = document[named[0]]
    if isinstance(value, dict):
        value = next((value[key] for key in _INNER if key in value), None)
    if not isinstance(value, str):
        raise DecodeError(
            codes.BAD_JSON, f"{named[0]!r} has to be the base64 of a picture or a recording, or a data URL of it"
        )
    return value


def _requested(request: OpenInferenceRequest, spec: Decode) -> Decoded:
    """The samples of an Open Inference Protocol request; BYTES are files as text."""
    tensor = request.inputs[0] if len(request.inputs) == 1 else None
    if tensor is None or tensor.datatype != BYTES or not all(isinstance(each, str) for each in tensor.data):
        return as_samples(request_tensor(request), spec)
    if prod(tensor.shape) != len(tensor.data):
        raise DecodeError(codes.WRONG_SHAPE, f"the data of the request do not have the shape {list(tensor.shape)}")
    return _files([file_in(text) for text in tensor.data], spec, batched=bool(tensor.shape))


def _files(files: list[File], spec: Decode, *, batched: bool) -> Decoded:
    """Pictures and recordings, each a sample; all pictures of a payload together have `MAX_PIXELS` at most."""
    if not files:
        raise DecodeError(codes.WRONG_SHAPE, "there is no sample in it")
    if len(files) > MAX_BATCH:
        raise DecodeError(codes.TOO_LARGE, f"a batch has at most {MAX_BATCH} samples, this one has {len(files)}")
    samples, left = [], MAX_PIXELS
    for file in files:
        form = _form_of_file(file)
        if form == "audio":
            samples.append(audio.sample_of(file.data, spec))
        else:
            pixels, read = picture.pixels_of(file.data, spec, left)
            samples.append(_cast(pixels, spec))
            left -= read
    return Decoded(samples=np.stack(samples), batched=batched)


def _form_of_file(file: File) -> Form:
    if file.content_type in _SAID:
        return _SAID[file.content_type]
    if file.content_type:
        form = form_of_type(file.content_type)
        if form in ("image", "audio"):
            return form
        raise DecodeError(codes.UNSUPPORTED, f"a data URL of {file.content_type}: send a picture or a recording")
    kind = kind_of(file.data)
    if kind is None or kind.form is None:
        raise DecodeError(codes.BAD_JSON, "what a text holds is neither a picture nor a recording")
    return kind.form


def _request(document: dict[str, Any]) -> OpenInferenceRequest:
    try:
        return msgspec.convert(document, OpenInferenceRequest)
    except msgspec.ValidationError as error:
        raise DecodeError(codes.BAD_JSON, f"no Open Inference Protocol request: {error}") from None


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
