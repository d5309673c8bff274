"""The manifest: the signed description of a bundle. JSON on disk, its schema version inside.

Every number a device needs to turn an input into an answer is in here, so that the converter (which
measures) and the device (which serves) cannot differ. Unknown fields and unknown schema versions are refused: a
device that skipped a step it does not know would answer wrongly without a word.
"""

from typing import Annotated

import msgspec

from maas_agent.bundle.manifest.metrics import Metrics
from maas_agent.bundle.manifest.parts import DType, ManifestPart, Name, Sha256, Shape, Size
from maas_agent.bundle.manifest.steps import Decode, Postprocess, Preprocess, Raw

SINCE: dict[str, int] = {
    "Multilabel": 2,
    "Classification.binary": 2,
    "Decode.orientation": 2,
    "Decode.background": 2,
    "Golden.inflated": 2,
}
"""The schema that brought a kind (``Kind``), a field (``Kind.field``) or a value of a text (``Kind.field=value``), see
`maas_agent.bundle.schema`. A test holds it against what schema 1 had."""


class Quantization(ManifestPart, frozen=True):
    """Affine quantization of a tensor: ``real = (stored - zero_point) * scale``."""

    scale: float
    zero_point: int = 0


class Tensor(ManifestPart, frozen=True):
    """One tensor of a ``.tflite`` file. ``shape`` includes the model's own batch dimension."""

    name: str
    shape: Shape
    dtype: DType
    quantization: Quantization | None = None


class Input(ManifestPart, frozen=True):
    """One input of the bundle: the tensor, and how a sample becomes that tensor."""

    tensor: Tensor
    decode: Decode
    preprocess: tuple[Preprocess, ...] = ()


class Output(ManifestPart, frozen=True):
    """One output of the bundle: the tensor, and how it becomes an answer.

    Where the stage that makes the tensor was skipped (see `When`), the edge ``otherwise`` stands in for it (and where
    that was not made either and is an output itself, its own ``otherwise``); without one the output is left out of
    the answer.
    """

    tensor: Tensor
    postprocess: Postprocess = Raw()
    labels: tuple[str, ...] = ()
    otherwise: str = ""


class When(ManifestPart, frozen=True):
    """A stage's condition on an edge made before it, in real (dequantized) values; exactly one bound is set.

    The value is the element ``index`` of the flattened tensor, or its largest element. ``below`` on the largest score
    of a small classifier runs a large one where the small one is unsure; ``at_least`` on one class is a gate.
    """

    edge: str
    index: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at_least: float | None = None
    below: float | None = None


class Stage(ManifestPart, frozen=True):
    """One ``.tflite`` sub-model. Inputs and outputs name the edges of the graph, in the model's own order.

    A stage whose condition does not hold is skipped, and with it every stage that needs what it makes.
    """

    name: Name
    blob: Sha256
    size: Size
    inputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    when: When | None = None


class Golden(ManifestPart, frozen=True):
    """The golden samples' blob, and how far (absolute, in the output's real units) a device may deviate."""

    blob: Sha256
    size: Size
    samples: Annotated[int, msgspec.Meta(ge=1)]
    tolerance: Annotated[float, msgspec.Meta(ge=0)]
    inflated: Annotated[int, msgspec.Meta(ge=0, le=1 << 28)] = 0
    """Bytes that the blob inflates to (zlib); 0 says that it is stored as it is."""


class Requires(ManifestPart, frozen=True):
    """What a device needs: the lowest runtime version, and accelerators known good."""

    runtime: str = ""
    accelerators: tuple[str, ...] = ("cpu",)


class Lineage(ManifestPart, frozen=True):
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


class Manifest(ManifestPart, frozen=True):
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
