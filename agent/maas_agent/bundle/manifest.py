"""The manifest: the signed description of a bundle. JSON on disk, its schema version inside.

Every number a device needs to turn an input into an answer is in here, so that the converter (which
measures) and the device (which serves) cannot differ. Unknown fields and unknown schema versions are refused: a
device that skipped a step it does not know would answer wrongly without a word.
"""

import hashlib
import re
from math import isfinite, prod
from typing import Annotated, Literal

import msgspec

from maas_agent.bundle.version import parse_version
from maas_agent.errors import BundleError, DataError

SCHEMA = 1
"""The manifest schema this code writes, and the only one it reads."""

MAX_MANIFEST_BYTES = 1 << 20
MAX_TENSOR_BYTES = 1 << 28

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}\Z")
"""Names of models and stages: they become parts of topics, paths and URLs."""

DType = Literal["float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool"]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=NAME.pattern)]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Shape = Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=8)]
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]

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

    Images are converted to ``color`` and resized to the height and width in ``shape``.
    """

    shape: Shape
    dtype: DType
    color: Literal["gray", "rgb"] = "rgb"
    resize: Literal["nearest", "bilinear", "bicubic"] = "bilinear"

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


Preprocess = Scale | Normalize


class Classification(_Part, frozen=True, tag_field="kind", tag="classification"):
    """Scores to labels: the best ``top`` of them, after ``activation``."""

    top: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    activation: Literal["none", "softmax", "sigmoid"] = "none"


class Raw(_Part, frozen=True, tag_field="kind", tag="raw"):
    """The dequantized values as they are."""


Postprocess = Classification | Raw


class Input(_Part, frozen=True):
    """One input of the bundle: the tensor, and how a sample becomes that tensor."""

    tensor: Tensor
    decode: Decode
    preprocess: tuple[Preprocess, ...] = ()


class Output(_Part, frozen=True):
    """One output of the bundle: the tensor, and how it becomes an answer."""

    tensor: Tensor
    postprocess: Postprocess = Raw()
    labels: tuple[str, ...] = ()


class Stage(_Part, frozen=True):
    """One ``.tflite`` sub-model. Inputs and outputs name the edges of the graph, in the model's own order."""

    name: Name
    blob: Sha256
    size: Size
    inputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Golden(_Part, frozen=True):
    """The golden samples' blob, and how far (absolute, in the output's real units) a device may deviate."""

    blob: Sha256
    size: Size
    samples: Annotated[int, msgspec.Meta(ge=1)]
    tolerance: Annotated[float, msgspec.Meta(ge=0)]


class Accuracy(_Part, frozen=True):
    """Paired accuracy of the float model and of this bundle on one data set, as fractions."""

    samples: int
    float32: float
    bundle: float
    drop_points: float
    """Accuracy lost, in percentage points; negative when the bundle is better."""
    interval_points: tuple[float, float]
    """95 % confidence interval of ``drop_points`` (paired, normal approximation)."""


class Latency(_Part, frozen=True):
    """Time of one inference, in milliseconds, and where it was measured."""

    host: str
    threads: int
    float32_p50_ms: float
    bundle_p50_ms: float
    bundle_p99_ms: float


class Metrics(_Part, frozen=True):
    """What the conversion cost and won."""

    float32_bytes: int
    bundle_bytes: int
    accuracy: dict[str, Accuracy] = {}
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


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest: what is signed, and whose digest is the bundle's identity."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Raises `BundleError` if it is too large, no manifest, of an unknown schema, or inconsistent in itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"manifest is {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    _check_schema(data)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"manifest is not valid: {error}") from None
    _check_consistency(manifest)
    return manifest


def digest_of(data: bytes) -> str:
    """SHA-256 as lower-case hex: the name of a blob, the identity of a bundle."""
    return hashlib.sha256(data).hexdigest()


class _SchemaOnly(msgspec.Struct):
    schema: int


def _check_schema(data: bytes) -> None:
    try:
        found = msgspec.json.decode(data, type=_SchemaOnly).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"manifest is not valid: {error}") from None
    if found != SCHEMA:
        raise BundleError(f"manifest has schema {found}, this program reads {SCHEMA}: update maas-edge on this machine")


def _check_consistency(manifest: Manifest) -> None:
    try:
        parse_version(manifest.version)
    except DataError as error:
        raise BundleError(f"manifest: {error}") from None
    _check_graph(manifest)
    for tensor in [i.tensor for i in manifest.inputs] + [o.tensor for o in manifest.outputs]:
        _check_tensor(tensor)
    for spec in manifest.inputs:
        _check_input(spec)
    for output in manifest.outputs:
        _check_labels(output)
    sizes = [(stage.blob, stage.size) for stage in manifest.stages] + [(manifest.golden.blob, manifest.golden.size)]
    if len(set(sizes)) != len({blob for blob, _ in sizes}):
        raise BundleError("manifest gives one blob two sizes")


def _check_graph(manifest: Manifest) -> None:
    known = {spec.tensor.name for spec in manifest.inputs}
    for stage in manifest.stages:
        missing = set(stage.inputs) - known
        if missing:
            raise BundleError(f"stage {stage.name!r} needs {sorted(missing)}, which nothing before it makes")
        known |= set(stage.outputs)
    absent = {output.tensor.name for output in manifest.outputs} - known
    if absent:
        raise BundleError(f"outputs {sorted(absent)} are made by no stage")


def _check_tensor(tensor: Tensor) -> None:
    if prod(tensor.shape) * _BYTES[tensor.dtype] > MAX_TENSOR_BYTES:
        raise BundleError(f"tensor {tensor.name!r} has more than {MAX_TENSOR_BYTES} bytes")
    if tensor.quantization is not None and not (tensor.quantization.scale > 0 and isfinite(tensor.quantization.scale)):
        raise BundleError(f"tensor {tensor.name!r} has quantization scale {tensor.quantization.scale}")


def _check_input(spec: Input) -> None:
    if prod(spec.decode.shape) != prod(spec.tensor.shape):
        raise BundleError(
            f"input {spec.tensor.name!r}: a sample {list(spec.decode.shape)} does not fill {list(spec.tensor.shape)}"
        )
    channels = spec.decode.shape[-1] if spec.decode.shape else 1
    for step in spec.preprocess:
        if isinstance(step, Normalize):
            if len(step.mean) not in (1, channels) or len(step.std) not in (1, channels):
                raise BundleError(
                    f"normalize has {len(step.mean)} means and {len(step.std)} deviations for {channels} channels"
                )
            if not all(value > 0 for value in step.std):
                raise BundleError("normalize divides by a standard deviation that is not positive")


def _check_labels(output: Output) -> None:
    if isinstance(output.postprocess, Classification) and output.labels:
        classes = prod(output.tensor.shape)
        if classes != len(output.labels):
            raise BundleError(f"output {output.tensor.name!r} has {classes} classes and {len(output.labels)} labels")
