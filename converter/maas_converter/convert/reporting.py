"""What a conversion says of itself: where the bundle comes from, for its manifest; all it knows, for ``--report``."""

import hashlib

import msgspec

from maas_agent import __version__
from maas_agent.bundle.manifest import Lineage, Manifest
from maas_converter.convert.baseline import Baseline
from maas_converter.convert.context import ConversionContext
from maas_converter.convert.importing import ImportedStage
from maas_converter.convert.quantize_stages import QuantizedStages
from maas_converter.convert.validation import Validation
from maas_converter.evidence.gather import distribution_of, record_of
from maas_converter.evidence.record import CandidateFigures, ValueDistribution
from maas_converter.quantize.search.candidates.outcome import SearchOutcome
from maas_converter.report.page import write_report


def lineage_of(
    context: ConversionContext, imported: tuple[ImportedStage, ...], quantized: QuantizedStages, forced: tuple[str, ...]
) -> Lineage:
    """``forced``: what the calibration guard found and was told to pass over."""
    source = context.request.source
    several = not context.given.plan.single
    calibration = context.given.calibration if any(one.recipe.calibrated for one in imported) else None
    return Lineage(
        source=source.resolve().name,
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest() if several else imported[0].model.source_sha256,
        converter=__version__,
        recipe=", ".join(dict.fromkeys(one.recipe.name for one in imported)),
        calibration_sha256=calibration.sha256 if calibration is not None else None,
        forced=forced,
        allowed_float=quantized.allowed_float,
        precision=quantized.found.precision if quantized.found is not None else {},
        stage_sources={one.plan.name: one.model.source_sha256 for one in imported} if several else {},
    )


def report(
    context: ConversionContext,
    manifest: Manifest,
    baseline: Baseline,
    quantized: QuantizedStages,
    validation: Validation,
    notes: tuple[str, ...],
) -> None:
    """Write the report if one was asked for; ``manifest`` is the finished one. Raises what `write_report` raises."""
    if context.request.report is None:
        return
    pair = msgspec.structs.replace(
        validation.pair, bundle=msgspec.structs.replace(validation.pair.bundle, manifest=manifest)
    )
    record = msgspec.structs.replace(
        record_of(pair, context.blobs, context.progress),
        judged=validation.judged,
        not_judged=validation.evidence.not_judged,
        looks=_distributions(context, baseline),
        candidates=candidates_of(quantized.found),
        notes=notes,
    )
    write_report(context.request.report, record)


def candidates_of(found: SearchOutcome | None) -> tuple[CandidateFigures, ...]:
    """What a search looked at, as the report shows it."""
    if found is None:
        return ()
    front = {candidate.plan for candidate in found.pareto}
    return tuple(
        CandidateFigures(
            name=candidate.title,
            bytes=candidate.size,
            p50_ms=candidate.p50_ms or None,
            drop_points=candidate.drop_points,
            on_front=candidate.plan in front,
            chosen=candidate.plan == found.chosen.plan,
        )
        for candidate in found.candidates
    )


def _distributions(context: ConversionContext, baseline: Baseline) -> tuple[ValueDistribution, ...]:
    looks = []
    if baseline.calibration is not None:
        looks.append(distribution_of("calibration", baseline.spec, baseline.calibration))
    if context.given.evaluation is not None:
        looks.append(distribution_of("evaluation", baseline.spec, baseline.evidence.samples))
    return tuple(looks)
