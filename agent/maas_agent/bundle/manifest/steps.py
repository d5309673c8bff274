"""Describes how a payload becomes a tensor, and an output an answer: decoding, preprocessing, postprocessing."""

from math import prod
from typing import Annotated, Literal

import msgspec

from maas_agent.bundle.manifest.parts import ITEM_BYTES, DType, ManifestPart, Shape

Level = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Decode(ManifestPart, frozen=True):
    """What one decoded sample is, before any preprocessing: raw bytes are exactly this, row-major.

    Images are turned upright, converted to ``color`` and resized to the height and width in ``shape``. Sound
    (``sample_rate`` is set) is mixed to one channel, resampled to that rate, and cut or filled with silence to
    ``shape`` (samples,); float types hold it as -1…1, int16 as it is.
    """

    shape: Shape
    dtype: DType
    color: Literal["gray", "rgb"] = "rgb"
    resize: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    sample_rate: Annotated[int, msgspec.Meta(ge=0, le=384_000)] = 0
    """Hz of sound; 0 says that a sample is no sound."""
    orientation: Literal["upright", "stored"] = "upright"
    """Whether a picture is turned as its EXIF orientation says, or left as its pixels are stored."""
    background: Annotated[tuple[Level, ...], msgspec.Meta(max_length=3)] = ()
    """What lies behind transparent pixels: gray, or red, green and blue; empty says that transparency is left out."""

    @property
    def sample_bytes(self) -> int:
        """Size of one sample as raw bytes."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


class Scale(ManifestPart, frozen=True, tag_field="op", tag="scale"):
    """``x * scale + offset``, the same for every element."""

    scale: float
    offset: float = 0.0


class Normalize(ManifestPart, frozen=True, tag_field="op", tag="normalize"):
    """``(x - mean) / std`` along the last axis (one value per channel, or one for all)."""

    mean: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]
    std: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]


class LogMel(ManifestPart, frozen=True, tag_field="op", tag="log_mel"):
    """Sound (samples,) to a spectrogram (frames, bands): windowed Fourier transform, power, mel bands, logarithm.

    Frames are Hann-windowed, ``hop`` samples apart, without padding: ``1 + (samples - frame) // hop`` of them.
    With ``coefficients`` the first so many of the type-II, orthonormal cosine transform of each frame (MFCC).
    """

    sample_rate: Annotated[int, msgspec.Meta(ge=1, le=384_000)]
    frame: Annotated[int, msgspec.Meta(ge=2, le=1 << 16)]
    """Samples of a frame, and length of its Fourier transform."""
    hop: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
    bands: Annotated[int, msgspec.Meta(ge=1, le=512)] = 40
    low_hz: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    high_hz: float = 0.0
    """0 says half of the sample rate."""
    floor: Annotated[float, msgspec.Meta(gt=0)] = 1e-6
    """Added to the power before the (natural) logarithm."""
    coefficients: Annotated[int, msgspec.Meta(ge=0, le=512)] = 0

    @property
    def top_hz(self) -> float:
        """The upper edge of the highest band."""
        return self.high_hz or self.sample_rate / 2

    def shape_of(self, samples: int) -> tuple[int, int]:
        """The shape (frames, bands) or (frames, coefficients) that so many samples, at least a frame, become."""
        return 1 + (samples - self.frame) // self.hop, self.coefficients or self.bands


Preprocess = Scale | Normalize | LogMel


class Classification(ManifestPart, frozen=True, tag_field="kind", tag="classification"):
    """Scores to labels: the best ``top`` of them, after ``activation``."""

    top: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    binary: bool = False
    """Whether the output is one value: the score of the second of two classes, of the first it is 1 less that."""


class Multilabel(ManifestPart, frozen=True, tag_field="kind", tag="multilabel"):
    """A score for each label, whatever the others': those at or above ``threshold`` are named, after ``activation``."""

    activation: Literal["none", "sigmoid"] = "none"
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class Raw(ManifestPart, frozen=True, tag_field="kind", tag="raw"):
    """The dequantized values as they are."""


Postprocess = Classification | Multilabel | Raw
