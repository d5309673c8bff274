"""Pixels as a ready-made model wants them, where nobody says how: by its metadata, or as its 8-bit input stores them.

A sample is a pixel from 0 to 255. Read as the real value of an input of -1…1 it would be one of two: a quantized
input of 8 bits was made for pixels as they are, unsigned, or shifted by 128 where it is signed.
"""

from math import isclose

import msgspec

from maas_agent.bundle.manifest import Decode, Input, Normalize, Preprocess, Quantization, Scale, Tensor
from maas_agent.processing.preprocess import outside_of, reach_of
from maas_converter.data.dataset import Dataset, SampleFiles
from maas_converter.tflite.metadata import Metadata

_CHANNELS = (1, 3)
_NEARLY = 2
"""Steps by which normalized pixels may leave the input's range: 127.5 on both sides, where 128 is the middle."""


class ReadyMadeModel(msgspec.Struct, frozen=True):
    """What is known of a model that came as a ``.tflite`` file."""

    quantized: bool = False
    """Whether it came quantized: then nobody but its maker says what its input holds."""
    metadata: Metadata = Metadata()


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether a sample of this ``shape`` may be a picture: (height, width) or (height, width, channels)."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS)


def takes_pixels(ready: ReadyMadeModel, tensor: Tensor) -> bool:
    """Whether samples of the model, of which there are none here, are 8-bit pixels."""
    shape = tensor.shape[1:]
    told = bool(ready.metadata.mean) or (ready.quantized and _stores_8_bits(tensor))
    return told and len(shape) == 3 and is_picture(shape)


def steps_for(
    ready: ReadyMadeModel, tensor: Tensor, decode: Decode, data: list[Dataset]
) -> tuple[tuple[Preprocess, ...], str]:
    """The steps from a pixel to the model's real values, and the sentence that says so; none of both where none are.

    ``data`` are those of the conversion: numbers that lie in the input's range as they are, are taken as they are.
    """
    if decode.dtype != "uint8" or not is_picture(decode.shape):
        return (), ""
    normal = _normalized(ready.metadata, decode)
    if normal is not None and _fits(normal, tensor) and not _stores_so(normal, tensor):
        told = f"(x - {_numbers(normal.mean)}) / {_numbers(normal.std)}"
        return (normal,), f"input {tensor.name!r}: pixels become {told}, as the model's TFLite metadata say"
    quantization = tensor.quantization
    if not ready.quantized or quantization is None or not _stores_8_bits(tensor):
        return (), ""
    scale = _as_stored(tensor.dtype, quantization)
    if isclose(scale.scale, 1.0) and abs(scale.offset) < scale.scale / 2:
        return (), ""
    if _in_range(tensor, decode, data):
        return (), (
            f"input {tensor.name!r}: the data lie in its range as they are, {_range(tensor)}, and are taken as real "
            "values; --preprocess says otherwise"
        )
    return (scale,), (
        f"input {tensor.name!r} ({tensor.dtype}): pixels are taken as it stores them, 0…255 stand for "
        f"{_range(tensor)}; --preprocess says otherwise"
    )


def _stores_8_bits(tensor: Tensor) -> bool:
    return tensor.dtype in ("uint8", "int8") and tensor.quantization is not None


def _as_stored(dtype: str, quantization: Quantization) -> Scale:
    """What makes the real value of a pixel that, quantized, is that pixel again; signed, 128 less."""
    shift = 128 if dtype == "int8" else 0
    return Scale(scale=quantization.scale, offset=-(quantization.zero_point + shift) * quantization.scale)


def _normalized(metadata: Metadata, decode: Decode) -> Normalize | None:
    channels = decode.shape[2] if len(decode.shape) == 3 else 1
    fits = metadata.mean and all(len(values) in (1, channels) for values in (metadata.mean, metadata.std))
    return Normalize(metadata.mean, metadata.std) if fits else None


def _fits(step: Normalize, tensor: Tensor) -> bool:
    """Whether black and white, normalized, lie in the range of a quantized input; metadata of others say anything."""
    reach = reach_of(tensor)
    if reach is None or tensor.quantization is None:
        return True
    slack = _NEARLY * tensor.quantization.scale
    ends = _ends(step)
    return reach[0] - slack <= min(ends) and max(ends) <= reach[1] + slack


def _stores_so(step: Normalize, tensor: Tensor) -> bool:
    """Whether an 8-bit input stores pixels, normalized, as they are but for rounding: then they need no rounding."""
    reach = reach_of(tensor)
    if reach is None or tensor.quantization is None or not _stores_8_bits(tensor):
        return False
    slack = _NEARLY * tensor.quantization.scale
    return all(abs(end - wanted) <= slack for end, wanted in zip(_ends(step), reach * 4, strict=False))


def _ends(step: Normalize) -> list[float]:
    """What black and white become, channel by channel."""
    return [(end - mean) / std for mean, std in _pairs(step) for end in (0, 255)]


def _pairs(step: Normalize) -> list[tuple[float, float]]:
    count = max(len(step.mean), len(step.std))
    mean, std = (values * count if len(values) == 1 else values for values in (step.mean, step.std))
    return list(zip(mean, std, strict=True))


def _in_range(tensor: Tensor, decode: Decode, data: list[Dataset]) -> bool:
    """Whether there are numbers, and no pictures, and all lie in the input's range as they are."""
    outside = outside_of(Input(tensor, decode))
    stored = [one.source for one in data if not isinstance(one.source, SampleFiles)]
    if not stored or len(stored) < len(data):
        return False
    return outside is None or not any(outside(one.x) for one in stored)


def _range(tensor: Tensor) -> str:
    reach = reach_of(tensor)
    return f"{reach[0]:.4g}…{reach[1]:.4g}" if reach is not None else "its values"


def _numbers(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values)
    return shown if len(values) == 1 else f"[{shown}]"
