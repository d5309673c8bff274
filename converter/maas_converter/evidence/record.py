"""Everything that is known of what a conversion cost: the document ``--report`` writes, as JSON and as a page."""

from typing import Any

import msgspec

from maas_converter.evidence.latency import LatencyByThreads
from maas_converter.evidence.layers import Layers
from maas_converter.evidence.scoring import Comparison, Score
from maas_converter.evidence.signal import Signal


class ModelFacts(msgspec.Struct, frozen=True):
    """The files of one model."""

    title: str
    bytes: int
    """Of its ``.tflite`` files together."""
    bytes_by_dtype: dict[str, int]
    """Of its weights and other constants."""
    arena_bytes: int
    """Memory for activations of its stages together, computed: see `maas_converter.evidence.memory`."""
    ops: dict[str, int]
    """How many of each."""
    inputs: tuple[str, ...]
    """Such as ``image, [1, 8, 8, 1] int8``."""
    outputs: tuple[str, ...]


class Judged(msgspec.Struct, frozen=True):
    """One output against the truth."""

    output: str
    data: str
    float32: Score | None
    bundle: Score | None
    comparison: Comparison | None
    """``None`` without a float model."""
    unanswered: int = 0
    """Samples for which the bundle left this output out; they are not judged."""


class CandidateFigures(msgspec.Struct, frozen=True):
    """One model that ``--quantize auto`` looked at."""

    name: str
    bytes: int
    p50_ms: float | None
    drop_points: float
    """Accuracy lost, in points, on the data it was judged on."""
    on_front: bool
    """Whether no other candidate is at least as good in every respect."""
    chosen: bool


class Spread(msgspec.Struct, frozen=True):
    """Values of one channel of a data set."""

    smallest: float
    largest: float
    mean: float
    std: float


class ValueDistribution(msgspec.Struct, frozen=True):
    """How the values of a data set are spread, as the model's input tensor sees them: after preprocessing."""

    title: str
    """Such as ``calibration``."""
    channels: tuple[Spread, ...]
    edges: tuple[float, ...]
    """Of the histogram, one more than ``counts``."""
    counts: tuple[int, ...]


class Record(msgspec.Struct, frozen=True):
    """The evidence of one conversion."""

    name: str
    version: str
    recipe: str
    created: str
    """RFC 3339."""
    samples: int
    origin: str
    """Where the samples come from that models were judged by."""
    float32: ModelFacts | None
    """``None`` where the source was quantized already."""
    bundle: ModelFacts
    judged: Judged | None = None
    not_judged: str = ""
    """Why there is no ``judged``."""
    signals: tuple[Signal, ...] = ()
    layers: Layers | None = None
    latencies: LatencyByThreads | None = None
    looks: tuple[ValueDistribution, ...] = ()
    candidates: tuple[CandidateFigures, ...] = ()
    lineage: dict[str, Any] = {}
    """As in the manifest."""
    notes: tuple[str, ...] = ()
    """What was decided without being asked, and on what grounds."""
