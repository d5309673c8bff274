"""Collects a `Record`: everything that costs seconds and only a report needs is done here."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, Manifest, Tensor
from maas_converter.base.console import Progress
from maas_converter.base.json_output import whole
from maas_converter.bench.blobs import Blobs
from maas_converter.bench.measure import Answers, answered
from maas_converter.evidence import scoring
from maas_converter.evidence.anomaly import real_inputs
from maas_converter.evidence.latency import latencies_of
from maas_converter.evidence.layers import SAMPLES, Layers, layers_of
from maas_converter.evidence.memory import arena_bytes
from maas_converter.evidence.record import Judged, ModelFacts, Record, Spread, ValueDistribution
from maas_converter.evidence.scoring import Truth
from maas_converter.evidence.signal import Signal, signal_of
from maas_converter.tflite.contents import Contents, contents_of

_BINS = 40


class ModelAnswers(msgspec.Struct, frozen=True):
    """One of the two models: its draft or manifest, and what it answered on the samples."""

    manifest: Manifest
    answers: Answers


class Pair(msgspec.Struct, frozen=True):
    """Both models on the same samples."""

    float32: ModelAnswers | None
    """``None`` where the source was quantized already."""
    bundle: ModelAnswers
    samples: NDArray[np.generic]
    """(N, …sample)"""
    origin: str
    """Where the samples come from."""


def record_of(pair: Pair, blobs: Blobs, progress: Progress) -> Record:
    """Everything that follows from both models and the samples they answered; their stages lie in ``blobs``.

    What else is known (a judgement, the data's distributions, candidates of a search, notes) is added by whoever knows
    it, with ``msgspec.structs.replace``.
    """
    before, manifest = pair.float32, pair.bundle.manifest
    progress.step("measuring latency by number of threads")
    latencies = latencies_of(before.manifest if before is not None else None, manifest, blobs, pair.samples)
    progress.step("comparing layers")
    return Record(
        name=manifest.name,
        version=manifest.version,
        recipe=manifest.lineage.recipe,
        created=manifest.created,
        samples=len(pair.samples),
        origin=pair.origin,
        float32=_facts("float32", before.manifest, blobs) if before is not None else None,
        bundle=_facts(manifest.lineage.recipe, manifest, blobs),
        signals=_signals(before, pair.bundle) if before is not None else (),
        layers=_layers(before.manifest, manifest, blobs, pair.samples) if before is not None else None,
        latencies=latencies,
        lineage=whole(manifest.lineage),
    )


def judged_of(truth: Truth, data: str, output: str, pair: Pair) -> Judged:
    """Both models' answers at the bundle's ``output`` against the truth; ``data`` names the data set."""
    after, before = pair.bundle.answers[output], None
    if pair.float32 is not None:
        before = list(pair.float32.answers.values())[list(pair.bundle.answers).index(output)]
    return Judged(
        output=output,
        data=data,
        float32=scoring.score_of(truth, before) if before is not None else None,
        bundle=scoring.score_of(truth, after),
        comparison=scoring.compare(truth, before, after) if before is not None else None,
        unanswered=int(np.sum(~answered(after))),
    )


def distribution_of(title: str, spec: Input, samples: NDArray[np.generic]) -> ValueDistribution:
    """Measure how ``samples`` (N, …sample) are spread once they are preprocessed, not quantized; by the last axis."""
    values = real_inputs(spec, samples)
    channels = values.reshape(-1, values.shape[-1] if values.ndim > 2 and values.shape[-1] <= 4 else 1)
    counts, edges = np.histogram(values, bins=_BINS)
    return ValueDistribution(
        title=title,
        channels=tuple(_spread(channels[:, number]) for number in range(channels.shape[1])),
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
    )


def _spread(values: NDArray[np.float32]) -> Spread:
    wide = values.astype(np.float64)
    return Spread(float(wide.min()), float(wide.max()), float(wide.mean()), float(wide.std()))


def _facts(title: str, manifest: Manifest, blobs: Blobs) -> ModelFacts:
    contents = [contents_of(blobs.read(stage.blob)) for stage in manifest.stages]
    return ModelFacts(
        title=title,
        bytes=sum(one.size for one in contents),
        bytes_by_dtype=_summed([one.constant_bytes for one in contents]),
        arena_bytes=sum(arena_bytes(one) for one in contents),
        ops=_counted(contents),
        inputs=tuple(_described(spec.tensor) for spec in manifest.inputs),
        outputs=tuple(_described(spec.tensor) for spec in manifest.outputs),
    )


def _signals(float32: ModelAnswers, bundle: ModelAnswers) -> tuple[Signal, ...]:
    """Compare output by output; both models have the same ones in one order, if under other names."""
    found = []
    for (name, after), before in zip(bundle.answers.items(), float32.answers.values(), strict=True):
        both = answered(before) & answered(after)
        if both.any():
            found.append(signal_of(name, before[both], after[both]))
    return tuple(found)


def _layers(float32: Manifest, bundle: Manifest, blobs: Blobs, samples: NDArray[np.generic]) -> Layers:
    if len(float32.stages) != 1 or len(bundle.stages) != 1:
        return Layers(0, (), "layers are compared in bundles of one stage")
    chosen = samples[np.unique(np.linspace(0, len(samples) - 1, SAMPLES, dtype=np.int64))]
    inputs = real_inputs(float32.inputs[0], chosen)
    return layers_of(blobs.read(float32.stages[0].blob), blobs.read(bundle.stages[0].blob), inputs)


def _summed(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _counted(contents: Sequence[Contents]) -> dict[str, int]:
    counted = Counter(op.name for one in contents for op in one.ops)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _described(tensor: Tensor) -> str:
    return f"{tensor.name}, {list(tensor.shape)} {tensor.dtype}"
