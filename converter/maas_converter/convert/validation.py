"""Validates a conversion: runs the models as they came and the bundle side by side on the same real samples."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.golden import GoldenSamples
from maas_agent.bundle.manifest import Accuracy, Anomaly, Latency, Manifest, Metrics, Multilabel, Output, Regression
from maas_agent.processing.preprocess import outside_of, reach_of
from maas_converter.bench import golden, measure, postprocess
from maas_converter.convert.baseline import Baseline, Evidence
from maas_converter.convert.context import ConversionContext
from maas_converter.evidence.anomaly import AnomalyScore
from maas_converter.evidence.classification import ClassificationComparison, ClassificationScore
from maas_converter.evidence.gather import ModelAnswers, Pair, judged_of
from maas_converter.evidence.record import Judged
from maas_converter.evidence.regression import RegressionScore
from maas_converter.evidence.scoring import doubts_of, multilabel_notes, score_of


class Evaluation(msgspec.Struct, frozen=True):
    """What one model answered on the evidence, and how fast."""

    manifest: Manifest
    answers: measure.Answers
    time: measure.Timing

    @property
    def size(self) -> int:
        """Bytes of its stages together."""
        return sum(stage.size for stage in self.manifest.stages)


class Validation(msgspec.Struct, frozen=True):
    """The evaluations of the models as they came and of the bundle, and what is true of the samples."""

    evidence: Evidence
    float32: Evaluation | None
    """``None`` where every model came quantized: there is nothing to compare with."""
    bundle: Evaluation
    data: str
    """What metrics call the evaluation data."""
    judged: Judged | None
    given: bool = True
    """Whether the samples are somebody's data, not noise."""

    @property
    def reference(self) -> Evaluation:
        """The evaluation that says what an output is."""
        return self.float32 or self.bundle

    @property
    def pair(self) -> Pair:
        """The answers of both models, as the report's evidence is gathered from them."""
        return _pair(self.evidence, self.float32, self.bundle)


def validate(context: ConversionContext, baseline: Baseline, draft: Manifest, *, compared: bool) -> Validation:
    """Run the bundle's ``draft`` on all the evidence, and time it in turns with the models as they came.

    ``compared``: these are something else than the bundle's.
    """
    evidence, blobs, progress = baseline.evidence, context.blobs, context.progress
    manifests = [baseline.draft, draft] if compared else [draft]
    graphs = [measure.load_graph(manifest, blobs) for manifest in manifests]
    answers = measure.answers(graphs[-1], evidence.samples, progress, "evaluating the bundle")
    progress.step("measuring latency")
    times = measure.times_of(graphs, evidence.samples)
    bundle = Evaluation(draft, answers, times[-1])
    float32 = Evaluation(baseline.draft, baseline.answers, times[0]) if compared else None
    data = context.given.evaluation.name if context.given.evaluation is not None else ""
    given = bool(context.given.datasets)
    return Validation(evidence, float32, bundle, data, _judged(evidence, float32, bundle, data), given)


def outputs_of(validation: Validation, baseline: Baseline) -> tuple[Output, ...]:
    """The bundle's outputs, as the models that came were told to be."""
    described = zip(validation.bundle.manifest.outputs, baseline.known, baseline.told, strict=True)
    return tuple(
        msgspec.structs.replace(
            postprocess.output_of(msgspec.structs.replace(known, tensor=output.tensor), kind),
            otherwise=output.otherwise,
        )
        for output, known, (kind, _) in described
    )


def notes_of(validation: Validation, baseline: Baseline) -> tuple[str, ...]:
    """What was decided without being asked, and on what grounds."""
    evidence = validation.evidence
    notes = [f"golden samples and decisions rest on {len(evidence.samples)} samples: {evidence.origin}"]
    if evidence.truth is None:
        notes.append(f"quality was not measured: {evidence.not_judged}")
    else:
        values = next(iter(validation.reference.answers.values()))
        bundle = next(iter(validation.bundle.answers.values()))
        notes += multilabel_notes(bundle, evidence.truth.y, baseline.only_kind)
        notes += [*evidence.truth.notes, *doubts_of(evidence.truth, values, score_of(evidence.truth, values))]
    notes += [*baseline.notes, *_outside(validation)]
    for output, (_, why) in zip(validation.bundle.manifest.outputs, baseline.told, strict=True):
        notes.append(f"output {output.tensor.name!r}: {why}")
    return tuple(notes)


def _outside(validation: Validation) -> list[str]:
    """Say how many samples hold values that the bundle's input cannot; nothing of samples that are noise."""
    spec, samples = validation.bundle.manifest.inputs[0], validation.evidence.samples
    outside, reach = outside_of(spec), reach_of(spec.tensor)
    count = sum(map(outside, samples)) if outside is not None and validation.given else 0
    if not count or reach is None:
        return []
    return [
        f"{count} of {len(samples)} samples ({validation.evidence.origin}) hold values outside the range of the input "
        f"{spec.tensor.name!r}, {reach[0]:.4g}…{reach[1]:.4g}, which are clipped to it: see --preprocess, or calibrate "
        "with data that reach as far"
    ]


def metrics_of(validation: Validation) -> Metrics:
    """What the conversion cost and won, as the manifest states it."""
    before, after = validation.float32, validation.bundle
    plain = Metrics(
        float32_bytes=before.size if before is not None else 0,
        bundle_bytes=after.size,
        latency=Latency(
            host=measure.this_host(),
            threads=measure.THREADS,
            float32_p50_ms=before.time.p50_ms if before is not None else None,
            bundle_p50_ms=after.time.p50_ms,
            bundle_p99_ms=after.time.p99_ms,
        ),
    )
    return _with_quality(plain, validation.judged)


def agreement_of(validation: Validation, baseline: Baseline) -> float | None:
    """How often (a fraction) float model and bundle name one class; ``None`` if their answers are no classes."""
    if validation.float32 is None or len(validation.bundle.answers) != 1:
        return None
    before, after = (next(iter(one.answers.values())) for one in (validation.float32, validation.bundle))
    both = measure.answered(before) & measure.answered(after)
    threshold = postprocess.threshold_of(baseline.only_kind)
    one_value = before[0].size < 2 and threshold is None
    if one_value or isinstance(baseline.only_kind, Multilabel) or not both.any() or _is_regression(validation):
        return None
    classes = [measure.top_classes(postprocess.scores_of(values[both], threshold)) for values in (before, after)]
    return float(np.mean(classes[0] == classes[1]))


def golden_of(validation: Validation, *, quantized: bool) -> tuple[golden.GoldenBlob, int, float]:
    """The golden samples with the bundle's own answers, how many they are, and the tolerance for devices."""
    most = golden.GOLDEN_SAMPLES
    while True:
        rows = _golden_rows(validation, most)
        answers = {name: values[rows] for name, values in validation.bundle.answers.items()}
        stored = golden.stored(GoldenSamples(samples=validation.evidence.samples[rows], outputs=answers))
        if stored.fits or len(rows) <= golden.FEWEST:
            return stored, len(rows), _tolerance(validation, rows, quantized=quantized)
        most = golden.fewer(len(rows), len(stored.blob))


def _golden_rows(validation: Validation, most: int) -> NDArray[np.int64]:
    steady, kinds = _steady(validation), _kinds(validation)
    return steady[golden.chosen_rows(len(steady), kinds[steady] if kinds is not None else None, most)]


def _tolerance(validation: Validation, rows: NDArray[np.int64], *, quantized: bool) -> float:
    bundle = {name: values[rows] for name, values in validation.bundle.answers.items()}
    # The two models may call an output differently; they have the same ones in the same order.
    before = validation.float32
    float32 = dict(zip(bundle, (values[rows] for values in before.answers.values()), strict=True)) if before else None
    return golden.tolerance(validation.bundle.manifest.outputs, bundle, float32, quantized=quantized)


def _kinds(validation: Validation) -> NDArray[np.int64] | None:
    """Kinds of samples (N,), of each of which some are to be golden: by class and number of outputs answered."""
    y = validation.evidence.classes
    given = np.sum([measure.answered(values) for values in validation.bundle.answers.values()], axis=0).astype(np.int64)
    if y is None and given.min() == given.max():
        return None
    kinds: NDArray[np.int64] = given if y is None else y * (int(given.max()) + 1) + given
    return kinds


def _steady(validation: Validation) -> NDArray[np.int64]:
    """Samples (M,) on which both models skip the same stages: near a threshold a device may decide otherwise."""
    pairs = zip(validation.reference.answers.values(), validation.bundle.answers.values(), strict=True)
    alike = np.logical_and.reduce([measure.answered(before) == measure.answered(after) for before, after in pairs])
    rows = np.flatnonzero(alike)
    return rows if len(rows) else np.arange(len(alike))


def _judged(evidence: Evidence, float32: Evaluation | None, bundle: Evaluation, data: str) -> Judged | None:
    if evidence.truth is None:
        return None
    return judged_of(evidence.truth, data, next(iter(bundle.answers)), _pair(evidence, float32, bundle))


def _pair(evidence: Evidence, float32: Evaluation | None, bundle: Evaluation) -> Pair:
    before = ModelAnswers(float32.manifest, float32.answers) if float32 is not None else None
    return Pair(before, ModelAnswers(bundle.manifest, bundle.answers), evidence.samples, evidence.origin)


def _is_regression(validation: Validation) -> bool:
    return validation.evidence.truth is not None and validation.evidence.truth.task != "classification"


def _with_quality(metrics: Metrics, judged: Judged | None) -> Metrics:
    """``metrics`` with the figure of the task."""
    if judged is None:
        return metrics
    match judged.bundle, judged.float32:
        case ClassificationScore() as bundle, before:
            accuracy = {judged.data: _accuracy(judged, bundle, before)}
            return msgspec.structs.replace(metrics, accuracy=accuracy)
        case RegressionScore() as bundle, RegressionScore() as before:
            errors = (bundle.mae.value, bundle.rmse.value, before.mae.value, before.rmse.value)
            return msgspec.structs.replace(metrics, regression={judged.data: Regression(bundle.samples, *errors)})
        case RegressionScore() as bundle, _:
            alone = Regression(bundle.samples, bundle.mae.value, bundle.rmse.value)
            return msgspec.structs.replace(metrics, regression={judged.data: alone})
        case AnomalyScore() as bundle, before:
            auc = before.auc.value if isinstance(before, AnomalyScore) else None
            found = Anomaly(bundle.samples, bundle.auc.value, auc)
            return msgspec.structs.replace(metrics, anomaly={judged.data: found})
    return metrics


def _accuracy(judged: Judged, bundle: ClassificationScore, before: object) -> Accuracy:
    if not isinstance(before, ClassificationScore) or not isinstance(judged.comparison, ClassificationComparison):
        return Accuracy(bundle.samples, bundle.accuracy)
    drop = judged.comparison.drop_points
    return Accuracy(bundle.samples, bundle.accuracy, before.accuracy, drop.value, drop.interval)
