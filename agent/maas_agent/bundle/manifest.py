"""The manifest: the signed description of a bundle. JSON on disk, its schema version inside.

Every number a device needs to turn an input into an answer is in here, so that the converter (which
measures) and the device (which serves) cannot differ. Unknown fields and unknown schema versions are refused: a
device that skipped a step it does not know would answer wrongly without a word.
"""

import hashlib
import re
from math import prod
from typing import Annotated, Literal

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle import schema
from maas_agent.bundle.edges import check_answers, check_stages
from maas_agent.bundle.version import parse_version
from maas_agent.errors import BundleError, DataError

SINCE: dict[str, int] = {
    "Multilabel": 2,
    "Classification.binary": 2,
    "Decode.orientation": 2,
    "Decode.background": 2,
    "Golden.inflated": 2,
}
"""The schema that brought a kind (``Kind``) or a field (``Kind.field``), see `maas_agent.bundle.schema`."""

MAX_MANIFEST_BYTES = 1 << 20
MAX_TENSOR_BYTES = 1 << 28

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}\Z")
"""Names of models and stages: they become parts of topics, paths and URLs."""

DType = Literal["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=NAME.pattern)]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Shape = Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=8)]
Level = Annotated[int, msgspec.Meta(ge=0, le=255)]
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]

_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""Of float32, in which devices compute: less is 0, and more is infinite."""

_BYTES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "bool": 1}


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything in a manifest."""


class Quantization(_Part, frozen=True):
    """Affine quantization of a tensor: ``real = (stored - zero_point) * scale``."""

    scale: float
    zero_point: int = 0


class Tensor(_Part, frozen=True):
    """One tensor of a ``.tflite`` file. ``shape`` includes the model's own batch dimension."""

    name: str
    shape: Shape
    dtype: DType
    quantization: Quantization | None = None


class Decode(_Part, frozen=True):
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
        return prod(self.shape) * _BYTES[self.dtype]


class Scale(_Part, frozen=True, tag_field="op", tag="scale"):
    """``x * scale + offset``, the same for every element."""

    scale: float
    offset: float = 0.0


class Normalize(_Part, frozen=True, tag_field="op", tag="normalize"):
    """``(x - mean) / std`` along the last axis (one value per channel, or one for all)."""

    mean: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]
    std: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]


class LogMel(_Part, frozen=True, tag_field="op", tag="log_mel"):
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


class Classification(_Part, frozen=True, tag_field="kind", tag="classification"):
    """Scores to labels: the best ``top`` of them, after ``activation``."""

    top: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    binary: bool = False
    """Whether the output is one value: the score of the second of two classes, of the first it is 1 less that."""


class Multilabel(_Part, frozen=True, tag_field="kind", tag="multilabel"):
    """A score for each label, whatever the others': those at or above ``threshold`` are named, after ``activation``."""

    activation: Literal["none", "sigmoid"] = "none"
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class Raw(_Part, frozen=True, tag_field="kind", tag="raw"):
    """The dequantized values as they are."""


Postprocess = Classification | Multilabel | Raw


class Input(_Part, frozen=True):
    """One input of the bundle: the tensor, and how a sample becomes that tensor."""

    tensor: Tensor
    decode: Decode
    preprocess: tuple[Preprocess, ...] = ()


class Output(_Part, frozen=True):
    """One output of the bundle: the tensor, and how it becomes an answer.

    Where the stage that makes the tensor was skipped (see `When`), the edge ``otherwise`` stands in for it (and where
    that was not made either and is an output itself, its own ``otherwise``); without one the output is left out of
    the answer.
    """

    tensor: Tensor
    postprocess: Postprocess = Raw()
    labels: tuple[str, ...] = ()
    otherwise: str = ""


class When(_Part, frozen=True):
    """A stage's condition on an edge made before it, in real (dequantized) values; exactly one bound is set.

    The value is the element ``index`` of the flattened tensor, or its largest element. ``below`` on the largest score
    of a small classifier runs a large one where the small one is unsure; ``at_least`` on one class is a gate.
    """

    edge: str
    index: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at_least: float | None = None
    below: float | None = None


class Stage(_Part, frozen=True):
    """One ``.tflite`` sub-model. Inputs and outputs name the edges of the graph, in the model's own order.

    A stage whose condition does not hold is skipped, and with it every stage that needs what it makes.
    """

    name: Name
    blob: Sha256
    size: Size
    inputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    when: When | None = None


class Golden(_Part, frozen=True):
    """The golden samples' blob, and how far (absolute, in the output's real units) a device may deviate."""

    blob: Sha256
    size: Size
    samples: Annotated[int, msgspec.Meta(ge=1)]
    tolerance: Annotated[float, msgspec.Meta(ge=0)]
    inflated: Annotated[int, msgspec.Meta(ge=0, le=1 << 28)] = 0
    """Bytes that the blob inflates to (zlib); 0 says that it is stored as it is."""


class Accuracy(_Part, frozen=True):
    """Paired accuracy of the float model and of this bundle on one data set, as fractions.

    What compares with the float model is ``None`` where there is none: the source was quantized already.
    """

    samples: int
    bundle: float
    float32: float | None = None
    drop_points: float | None = None
    """Accuracy lost, in percentage points; negative when the bundle is better."""
    interval_points: tuple[float, float] | None = None
    """95 % confidence interval of ``drop_points`` (paired; Agresti and Min)."""


class Regression(_Part, frozen=True):
    """Error of the float model and of this bundle on one data set, in the unit of the target."""

    samples: int
    bundle_mae: float
    bundle_rmse: float
    float32_mae: float | None = None
    float32_rmse: float | None = None


class Anomaly(_Part, frozen=True):
    """Area under the ROC curve of the anomaly score on one data set; chance is 0.5."""

    samples: int
    bundle_auc: float
    float32_auc: float | None = None


class Latency(_Part, frozen=True):
    """Time of one inference, in milliseconds, and where it was measured."""

    host: str
    threads: int
    bundle_p50_ms: float
    bundle_p99_ms: float
    float32_p50_ms: float | None = None


class Metrics(_Part, frozen=True):
    """What the conversion cost and won, by data set. ``float32_bytes`` is 0 where there was no float model."""

    float32_bytes: int
    bundle_bytes: int
    accuracy: dict[str, Accuracy] = {}
    regression: dict[str, Regression] = {}
    anomaly: dict[str, Anomaly] = {}
    latency: Latency | None = None


class Requires(_Part, frozen=True):
    """What a device needs: the lowest runtime version, and accelerators known good."""

    runtime: str = ""
    accelerators: tuple[str, ...] = ("cpu",)


class Lineage(_Part, frozen=True):
    """Where a bundle comes from, by digest."""

    source: str
    source_sha256: Sha256
    converter: str
    recipe: str
    calibration_sha256: Sha256 | None = None
    forced: tuple[str, ...] = ()
    """What the calibration guard found and ``--force`` overrode, in its words."""
    allowed_float: tuple[str, ...] = ()
    """Ops that stayed float in a quantized model, accepted by ``--allow-float``."""
    precision: dict[str, str] = {}
    """By op, what ``--quantize auto`` chose for it, where that differs from ``int8``."""
    stage_sources: dict[str, Sha256] = {}
    """By stage, the model it was made of, where a bundle was made of several."""


class Manifest(_Part, frozen=True):
    """A bundle. ``created`` is RFC 3339 in UTC."""

    schema: int
    name: Name
    version: str
    created: str
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(min_length=1, max_length=64)]
    inputs: Annotated[tuple[Input, ...], msgspec.Meta(min_length=1, max_length=1)]
    outputs: Annotated[tuple[Output, ...], msgspec.Meta(min_length=1, max_length=64)]
    golden: Golden
    metrics: Metrics
    requires: Requires
    lineage: Lineage

    def blobs(self) -> dict[str, int]:
        """Digest and size in bytes of every blob this bundle consists of."""
        return {stage.blob: stage.size for stage in self.stages} | {self.golden.blob: self.golden.size}


def lowest_schema(manifest: Manifest) -> int:
    """The schema that ``manifest`` is to state: the lowest that has everything it uses."""
    return schema.needed(manifest, SINCE)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest: what is signed, and whose digest is the bundle's identity."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Raises `BundleError` if it is too large, no manifest, of an unknown schema, or inconsistent in itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"manifest is {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    schema.check_schema(_schema_of(data))
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except MALFORMED as error:
        raise BundleError(f"manifest is not valid: {error}") from None
    schema.check_used(manifest.schema, manifest, SINCE)
    _check_consistency(manifest)
    return manifest


def digest_of(data: bytes) -> str:
    """SHA-256 as lower-case hex: the name of a blob, the identity of a bundle."""
    return hashlib.sha256(data).hexdigest()


def check_input(spec: Input) -> None:
    """Raise `BundleError` unless a sample is one that is decoded here, and fills the tensor after its steps."""
    _check_sound(spec.decode)
    shape = spec.decode.shape
    for position, step in enumerate(spec.preprocess):
        _check_finite(step)
        match step:
            case Normalize():
                _check_normalize(step, channels=shape[-1] if shape else 1)
            case LogMel():
                if position:
                    raise BundleError("log_mel has to be the first step: it takes sound as it was decoded")
                _check_log_mel(step, spec.decode)
                shape = step.shape_of(shape[0])
    if prod(shape) != prod(spec.tensor.shape):
        after = f", {list(shape)} after log_mel," if shape != spec.decode.shape else ""
        raise BundleError(
            f"input {spec.tensor.name!r}: a sample {list(spec.decode.shape)}{after} does not fill "
            f"the model's input {list(spec.tensor.shape)}"
        )


class _SchemaOnly(msgspec.Struct):
    schema: int


def _schema_of(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=_SchemaOnly).schema
    except MALFORMED as error:
        raise BundleError(f"manifest is not valid: {error}") from None


def _check_consistency(manifest: Manifest) -> None:
    try:
        parse_version(manifest.version)
    except DataError as error:
        raise BundleError(f"manifest: {error}") from None
    _check_graph(manifest)
    for tensor in [i.tensor for i in manifest.inputs] + [o.tensor for o in manifest.outputs]:
        _check_tensor(tensor)
    for spec in manifest.inputs:
        check_input(spec)
    for output in manifest.outputs:
        _check_labels(output)
    sizes = [(stage.blob, stage.size) for stage in manifest.stages] + [(manifest.golden.blob, manifest.golden.size)]
    if len(set(sizes)) != len({blob for blob, _ in sizes}):
        raise BundleError("manifest gives one blob two sizes")


def _check_graph(manifest: Manifest) -> None:
    given = [spec.tensor.name for spec in manifest.inputs]
    check_stages(manifest.stages, given)
    names = [output.tensor.name for output in manifest.outputs]
    if len(set(names)) < len(names):
        raise BundleError(f"manifest has an output twice: {', '.join(sorted(names))}")
    check_answers(manifest.stages, given, {output.tensor.name: output.otherwise for output in manifest.outputs})
    tensors = {spec.tensor.name: spec.tensor for spec in manifest.inputs}
    tensors |= {output.tensor.name: output.tensor for output in manifest.outputs}
    for stage in manifest.stages:
        if stage.when is not None and stage.when.edge in tensors:
            check_index(stage, tensors[stage.when.edge])
    for output in manifest.outputs:
        if output.otherwise in tensors:
            check_stand_in(output, tensors[output.otherwise])


def check_index(stage: Stage, tensor: Tensor) -> None:
    """Raise `BundleError` if a stage's condition is on an element that ``tensor`` does not have."""
    count = prod(tensor.shape)
    if stage.when is not None and stage.when.index is not None and stage.when.index >= count:
        raise BundleError(
            f"stage {stage.name!r} has a condition on element {stage.when.index} of {tensor.name!r}, "
            f"which has {count}, counted from 0"
        )


def check_stand_in(output: Output, tensor: Tensor) -> None:
    """Raise `BundleError` if ``tensor`` cannot stand in for an output: sizes differ in more than dimensions of 1."""
    if squeezed(tensor.shape) != squeezed(output.tensor.shape):
        raise BundleError(
            f"output {output.tensor.name!r} is {list(output.tensor.shape)}, "
            f"its otherwise {tensor.name!r} is {list(tensor.shape)}: they have to be alike"
        )


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` without its dimensions of size 1: tensors that agree in it hold the same values in the same order."""
    return tuple(size for size in shape if size != 1)


def _check_tensor(tensor: Tensor) -> None:
    if prod(tensor.shape) * _BYTES[tensor.dtype] > MAX_TENSOR_BYTES:
        raise BundleError(f"tensor {tensor.name!r} has more than {MAX_TENSOR_BYTES} bytes")
    if tensor.quantization is None:
        return
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    if not _SMALLEST <= scale <= _LARGEST:
        raise BundleError(f"tensor {tensor.name!r} has quantization scale {scale}")
    if abs(zero_point) > 1 << 31:
        raise BundleError(f"tensor {tensor.name!r} has quantization zero_point {zero_point}")


def _check_sound(decode: Decode) -> None:
    if len(decode.background) == 2:
        raise BundleError("a background has 1 value (gray) or 3 (red, green, blue)")
    if not decode.sample_rate:
        return
    if len(decode.shape) != 1:
        raise BundleError(f"a sample with a sample_rate is sound: its shape is [samples], not {list(decode.shape)}")
    if decode.dtype not in ("float32", "float16", "int16"):
        raise BundleError(f"a sample with a sample_rate is sound: float32, float16 or int16, not {decode.dtype}")


def _check_finite(step: Preprocess) -> None:
    for name, value in msgspec.structs.asdict(step).items():
        if not all(abs(number) <= _LARGEST for number in (value if isinstance(value, tuple) else (value,))):
            raise BundleError(f"a preprocessing step has {name} {value}: it has to be finite, as float32")


def _check_normalize(step: Normalize, channels: int) -> None:
    if len(step.mean) not in (1, channels) or len(step.std) not in (1, channels):
        raise BundleError(
            f"normalize has {len(step.mean)} means and {len(step.std)} deviations for {channels} channels"
        )
    if not all(value >= _SMALLEST for value in step.std):
        raise BundleError("normalize divides by a standard deviation that is not positive")


def _check_log_mel(step: LogMel, decode: Decode) -> None:
    if len(decode.shape) != 1 or decode.sample_rate != step.sample_rate:
        raise BundleError(
            f"log_mel takes sound, [samples] at its own sample_rate {step.sample_rate}, "
            f"not {list(decode.shape)} at sample_rate {decode.sample_rate}"
        )
    if step.frame > decode.shape[0]:
        raise BundleError(f"log_mel has frames of {step.frame} samples, the sound has {decode.shape[0]}")
    if not step.low_hz < step.top_hz <= step.sample_rate / 2:
        raise BundleError(
            f"log_mel has bands from {step.low_hz} to {step.top_hz} Hz: "
            f"they have to rise, to {step.sample_rate / 2} (half of the sample rate) at most"
        )
    if step.bands > step.frame // 2:
        raise BundleError(f"log_mel has {step.bands} bands, a frame of {step.frame} has {step.frame // 2} frequencies")
    if step.coefficients > step.bands:
        raise BundleError(f"log_mel has {step.coefficients} coefficients of {step.bands} bands")


def _check_labels(output: Output) -> None:
    name, kind, values = output.tensor.name, output.postprocess, prod(output.tensor.shape)
    if isinstance(kind, Raw):
        return
    binary = isinstance(kind, Classification) and kind.binary
    if binary and (values != 1 or kind.activation == "softmax"):
        raise BundleError(f"output {name!r} is binary: that is one value, with a sigmoid or none; it has {values}")
    classes = 2 if binary else values
    if output.labels and classes != len(output.labels):
        raise BundleError(f"output {name!r} has {classes} classes and {len(output.labels)} labels")
    if isinstance(kind, Multilabel) and len(set(output.labels)) < len(output.labels):
        raise BundleError(f"output {name!r} has two labels of one name, and a score for each name")
