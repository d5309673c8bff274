"""Turns a trained model into a bundle: import, quantize, validate on real data, pack."""

import tempfile
from math import prod
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import Golden, Lineage, Manifest, Metrics, decode_manifest
from maas_converter.base import outlet, sandbox
from maas_converter.base.console import Progress
from maas_converter.bench import measure
from maas_converter.bench.blobs import Blobs
from maas_converter.convert import max_drop, packing
from maas_converter.convert.baseline import Baseline, baseline_of
from maas_converter.convert.calibration_check import check_calibration
from maas_converter.convert.context import ConversionContext, named_by_model, read
from maas_converter.convert.importing import ImportedStage, import_stages
from maas_converter.convert.quantize_stages import QuantizedStages, quantize_stages
from maas_converter.convert.reporting import candidates_of, lineage_of, report
from maas_converter.convert.request import ConversionRequest
from maas_converter.convert.validation import (
    Validation,
    agreement_of,
    golden_of,
    metrics_of,
    notes_of,
    outputs_of,
    validate,
)
from maas_converter.evidence.record import CandidateFigures, Judged
from maas_converter.importers.agreement import Agreement
from maas_converter.quantize.recipes import AS_IS, AUTO
from maas_converter.quantize.search.candidates.outcome import HeldOut, SearchOutcome
from maas_converter.tflite.contents import contents_of


class Conversion(msgspec.Struct, frozen=True):
    """What came of it: the ``--json`` document."""

    name: str
    version: str
    path: str
    bytes: int
    """Of the ``.maas`` file."""
    digest: str
    signed: bool
    recipe: str
    metrics: Metrics
    judged: Judged | None
    """Every figure of the task, with its interval."""
    float32_time: measure.Timing | None
    """``None`` where the source was quantized already."""
    bundle_time: measure.Timing
    agreement: float | None
    """How often (a fraction) the float model and the bundle name the same class."""
    samples: int
    golden: Golden
    lineage: Lineage
    candidates: tuple[CandidateFigures, ...]
    """What ``--quantize auto`` looked at."""
    held_out: HeldOut | None
    """What it chose, on samples that the search had not seen."""
    report: str | None
    """The folder that ``--report`` names."""
    notes: tuple[str, ...] = ()
    warning: str = ""
    """What comes before everything else: more is lost than the bound, or nothing shows how much."""
    agreements: dict[str, Agreement] = {}
    """By stage, how far its import was from the source's own framework."""
    lost_points: float | None = None
    """See `maas_converter.convert.max_drop`."""


def convert(request: ConversionRequest, progress: Progress) -> Conversion:
    """Convert, or raise a `MaasError` and leave ``request.out`` as it is."""
    # (1) Whatever can be refused without work, before seconds are spent.
    given = read(request)
    with tempfile.TemporaryDirectory(prefix="maas-convert-") as scratch:
        context = ConversionContext(request, given, Path(scratch), Blobs(Path(scratch)), progress)
        # (2) The models as they came, run on the data: what everything else is compared with.
        imported = import_stages(context)
        sandbox.start_no_more()
        context = _informed(context, imported)
        baseline = baseline_of(context, imported)
        # (3) Nothing is calibrated with data unlike those the device will see.
        verdict = check_calibration(context, imported, baseline)
        # (4) Both run as a device would run them: the very files, in the very class that serves.
        quantized = quantize_stages(context, imported, baseline)
        validation = _validated(context, imported, baseline, quantized)
        loss = _bounded(context, imported, baseline, validation)
        # (5) What they showed goes into the manifest, the manifest into the file, the file under its name.
        lineage = lineage_of(context, imported, quantized, verdict.forced)
        notes = (*_notes(context, imported, quantized), *verdict.notes)
        manifest_bytes, notes = _finished(context, imported, baseline, validation, lineage, notes)
        manifest = decode_manifest(manifest_bytes)
        warning = _warning(context, imported, loss)
        report(context, manifest, baseline, quantized, validation, (*([warning] if warning else []), *notes))
        packed = packing.write(request.out, manifest_bytes, context.blobs, _signature(request.keys, manifest_bytes))
        return msgspec.structs.replace(
            _conversion(request, manifest, packed, baseline, quantized, validation),
            notes=notes,
            warning=warning,
            agreements={one.plan.name: one.model.agreement for one in imported if one.model.agreement is not None},
            lost_points=loss.points if loss is not None else None,
        )


def _informed(context: ConversionContext, imported: tuple[ImportedStage, ...]) -> ConversionContext:
    """Add the labels that the only model has itself, where nobody gave others, and what ``y`` means for it."""
    outputs = contents_of(imported[-1].model.tflite).outputs
    if not context.given.plan.single:
        return context
    own = imported[0].model.metadata.labels
    found = next((own[tensor.index] for tensor in outputs if tensor.index in own), ())
    given = context.given
    if found and not given.labels_asked:
        given = named_by_model(given, context.request, found)
    if len(outputs) == 1:
        given = given.meant_for(prod(outputs[0].shape))
    return msgspec.structs.replace(context, given=given)


def _bounded(
    context: ConversionContext, imported: tuple[ImportedStage, ...], baseline: Baseline, validation: Validation
) -> max_drop.PointsLost | None:
    """What was lost; raises `DataError` if that is more than ``--max-drop``, which a search has seen to itself."""
    loss = max_drop.loss_of(validation, baseline.only_kind)
    if imported[0].recipe.name != AUTO:
        max_drop.enforce(context.request.max_drop, _recipes(imported), loss)
    return loss


def _warning(context: ConversionContext, imported: tuple[ImportedStage, ...], loss: max_drop.PointsLost | None) -> str:
    quantized = any(one.recipe.quantized and one.recipe is not AS_IS for one in imported)
    return max_drop.warning_of(
        context.request.max_drop, _recipes(imported), quantized, context.given.evaluation is not None, loss
    )


def _recipes(imported: tuple[ImportedStage, ...]) -> str:
    return ", ".join(dict.fromkeys(one.recipe.name for one in imported))


def _validated(
    context: ConversionContext, imported: tuple[ImportedStage, ...], baseline: Baseline, quantized: QuantizedStages
) -> Validation:
    pairs = zip(quantized.tflites, imported, strict=True)
    stages = tuple(packing.load_stage(tflite, context.blobs, one.plan) for tflite, one in pairs)
    manifest = packing.draft(context.request, stages, context.given.plan.outputs, baseline.spec)
    return validate(context, baseline, manifest, compared=any(one.recipe is not AS_IS for one in imported))


def _finished(
    context: ConversionContext,
    imported: tuple[ImportedStage, ...],
    baseline: Baseline,
    validation: Validation,
    lineage: Lineage,
    notes: tuple[str, ...],
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the manifest, and ``notes`` with those of the validation."""
    draft = validation.bundle.manifest
    stored, count, tolerance = golden_of(validation, quantized=any(one.recipe.quantized for one in imported))
    golden = Golden(context.blobs.add(stored.blob), len(stored.blob), count, tolerance, stored.inflated)
    outputs = outputs_of(validation, baseline)
    return packing.finish(draft, outputs, golden, metrics_of(validation), lineage), (
        *notes,
        *notes_of(validation, baseline),
    )


def _notes(
    context: ConversionContext, imported: tuple[ImportedStage, ...], quantized: QuantizedStages
) -> tuple[str, ...]:
    """What importing, reading and quantizing decided without being asked."""
    decided = [note for one in imported for note in one.model.notes]
    if context.given.labels_asked and context.request.labels is None:
        decided.append(f"{len(context.given.labels)} labels are those of the model's own TFLite metadata")
    read_ = [note for dataset in context.given.datasets for note in dataset.notes]
    kept = [f"{one.plan.source.name} came quantized and is packed as it is" for one in imported if one.recipe is AS_IS]
    found = quantized.found
    searched = (_effort(found), *found.notes) if found is not None else ()
    stayed = [f"stayed float: {', '.join(quantized.allowed_float)}"] if quantized.allowed_float else []
    return (*decided, *read_, *kept, *searched, *quantized.kept, *stayed)


def _effort(found: SearchOutcome) -> str:
    known = f", {found.resumed} figures known of an earlier search" if found.resumed else ""
    return f"auto ran {found.evaluations} models{known}"


def _conversion(
    request: ConversionRequest,
    manifest: Manifest,
    packed: packing.PackedBundle,
    baseline: Baseline,
    quantized: QuantizedStages,
    validation: Validation,
) -> Conversion:
    return Conversion(
        name=manifest.name,
        version=manifest.version,
        path=str(packed.path),
        bytes=packed.size,
        digest=packed.digest,
        signed=packed.signed,
        recipe=manifest.lineage.recipe,
        metrics=manifest.metrics,
        judged=validation.judged,
        float32_time=validation.float32.time if validation.float32 is not None else None,
        bundle_time=validation.bundle.time,
        agreement=agreement_of(validation, baseline),
        samples=len(validation.evidence.samples),
        golden=manifest.golden,
        lineage=manifest.lineage,
        candidates=candidates_of(quantized.found),
        held_out=quantized.found.held_out if quantized.found is not None else None,
        report=str(request.report) if request.report is not None else None,
    )


def _signature(keys: Path | None, manifest_bytes: bytes) -> bytes | None:
    if keys is None:
        return None
    # Whoever runs models does not read keys.
    signature = outlet.asked("sign", manifest_bytes)
    if signature is not None:
        return signature
    # Imported late: only signing needs cryptography.
    from maas_converter.publishing.keys.key_files import sign_manifest

    return sign_manifest(keys, manifest_bytes)
