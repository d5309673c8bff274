"""The proof of a conversion: the float model and the bundle side by side on the same real samples."""

from math import prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.golden import GoldenSamples
from maas_agent.bundle.manifest import Accuracy, Input, Latency, Manifest, Metrics, Output, Tensor
from maas_converter import data, golden, measure, postprocess
from maas_converter.blobs import Blobs
from maas_converter.console import Progress
from maas_converter.order import Given

_EVIDENCE = 256
"""How many calibration samples stand in where there is no evaluation data."""


class Evidence(msgspec.Struct, frozen=True):
    """The samples (N, …sample) models are judged by, their classes (N,) if known, and where they come from."""

    samples: NDArray[np.generic]
    y: NDArray[np.int64] | None
    origin: str


class Trial(msgspec.Struct, frozen=True):
    """What one model answered on the evidence, and how fast."""

    answers: measure.Answers
    time: measure.Timing
    size: int


class Proof(msgspec.Struct, frozen=True):
    """Both trials."""

    evidence: Evidence
    float32: Trial
    bundle: Trial
    manifest: Manifest
    """The bundle's draft, see `maas_converter.pack.draft`."""


def evidence_of(given: Given, spec: Input, outputs: tuple[Tensor, ...]) -> Evidence:
    """Evaluation data, else some calibration data, else noise; raises `DataError` if it does not fit the model."""
    dataset = given.evaluation or given.calibration
    if dataset is None:
        return Evidence(golden.random_samples(spec.decode), None, "seeded random samples, for want of data")
    limit = None if given.evaluation is not None else _EVIDENCE
    chosen = data.samples_of(dataset, spec.decode)[:limit]
    if len(outputs) != 1 or prod(outputs[0].shape) < 2:
        return Evidence(chosen, None, dataset.path.name)  # nothing there that names a class
    y = data.classes_of(dataset, prod(outputs[0].shape))
    return Evidence(chosen, y[:limit] if y is not None else None, dataset.path.name)


def prove(float32: Manifest, bundle: Manifest, blobs: Blobs, evidence: Evidence, progress: Progress) -> Proof:
    """Run both on all the evidence; ``float32`` and ``bundle`` are drafts whose stages lie in ``blobs``."""
    graphs = [measure.load_graph(manifest, blobs) for manifest in (float32, bundle)]
    times = measure.times_of(graphs, evidence.samples)
    names = ("evaluating float32", "evaluating the bundle")
    before, after = (
        Trial(
            answers=measure.answers(graph, evidence.samples, progress, name),
            time=timing,
            size=sum(stage.size for stage in graph.manifest.stages),
        )
        for graph, timing, name in zip(graphs, times, names, strict=True)
    )
    return Proof(evidence=evidence, float32=before, bundle=after, manifest=bundle)


def outputs_of(proof: Proof, given: Given) -> tuple[Output, ...]:
    """The bundle's outputs, described by what the float model answered; raises `DataError` if labels do not fit."""
    return tuple(
        postprocess.output_of(
            output.tensor,
            proof.float32.answers[original],
            given.labels,
            has_classes=proof.evidence.y is not None,
        )
        for output, original in zip(proof.manifest.outputs, proof.float32.answers, strict=True)
    )


def metrics_of(proof: Proof, given: Given) -> Metrics:
    """What the conversion cost and won, as the manifest states it."""
    accuracy = _accuracy(proof)
    named = given.evaluation.name if given.evaluation is not None else ""
    return Metrics(
        float32_bytes=proof.float32.size,
        bundle_bytes=proof.bundle.size,
        accuracy={named: accuracy} if accuracy is not None and named else {},
        latency=Latency(
            host=measure.this_host(),
            threads=measure.THREADS,
            float32_p50_ms=proof.float32.time.p50_ms,
            bundle_p50_ms=proof.bundle.time.p50_ms,
            bundle_p99_ms=proof.bundle.time.p99_ms,
        ),
    )


def agreement_of(proof: Proof) -> float | None:
    """How often (a fraction) both name the same class; ``None`` if answers are no classes."""
    found = _top(proof)
    return float(np.mean(found[0] == found[1])) if found is not None else None


def golden_of(proof: Proof, *, quantized: bool) -> tuple[GoldenSamples, float]:
    """The golden samples with the bundle's own answers, and the tolerance for devices."""
    rows = golden.chosen_rows(len(proof.evidence.samples), proof.evidence.y)
    bundle = {name: values[rows] for name, values in proof.bundle.answers.items()}
    # The two models may call an output differently; they have the same ones in the same order.
    float32 = dict(zip(bundle, (values[rows] for values in proof.float32.answers.values()), strict=True))
    allowed = golden.tolerance(proof.manifest.outputs, bundle, float32, quantized=quantized)
    return GoldenSamples(samples=proof.evidence.samples[rows], outputs=bundle), allowed


def _accuracy(proof: Proof) -> Accuracy | None:
    found = _top(proof)
    if found is None or proof.evidence.y is None:
        return None
    return measure.compare(*found, proof.evidence.y)


def _top(proof: Proof) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    if len(proof.manifest.outputs) != 1 or prod(proof.manifest.outputs[0].tensor.shape) < 2:
        return None
    before, after = (next(iter(trial.answers.values())) for trial in (proof.float32, proof.bundle))
    return measure.top_classes(before), measure.top_classes(after)
