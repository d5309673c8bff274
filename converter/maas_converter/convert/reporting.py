"""What a conversion knows, gathered for ``--report``."""

import msgspec

from maas_agent.bundle.manifest import Manifest
from maas_converter.convert.baseline import Baseline
from maas_converter.convert.context import Job
from maas_converter.convert.quantize_stages import Shipped
from maas_converter.convert.validation import Proof
from maas_converter.evidence.gather import look_at, record_of
from maas_converter.evidence.record import Candidate, Look
from maas_converter.quantize.search.candidates.outcome import Found
from maas_converter.report.page import write_report


def report(
    job: Job, manifest: Manifest, baseline: Baseline, shipped: Shipped, proof: Proof, notes: tuple[str, ...]
) -> None:
    """Write the report if one was asked for; ``manifest`` is the finished one. Raises what `write_report` raises."""
    if job.order.report is None:
        return
    pair = msgspec.structs.replace(proof.pair, bundle=msgspec.structs.replace(proof.pair.bundle, manifest=manifest))
    record = msgspec.structs.replace(
        record_of(pair, job.blobs, job.progress),
        judged=proof.judged,
        not_judged=proof.evidence.not_judged,
        looks=_looks(job, baseline),
        candidates=candidates_of(shipped.found),
        notes=notes,
    )
    write_report(job.order.report, record)


def candidates_of(found: Found | None) -> tuple[Candidate, ...]:
    """What a search looked at, as the report shows it."""
    if found is None:
        return ()
    front = {candidate.plan for candidate in found.pareto}
    return tuple(
        Candidate(
            name=candidate.title,
            bytes=candidate.size,
            p50_ms=candidate.p50_ms or None,
            drop_points=candidate.drop_points,
            on_front=candidate.plan in front,
            chosen=candidate.plan == found.chosen.plan,
        )
        for candidate in found.candidates
    )


def _looks(job: Job, baseline: Baseline) -> tuple[Look, ...]:
    looks = []
    if baseline.calibration is not None:
        looks.append(look_at("calibration", baseline.spec, baseline.calibration))
    if job.given.evaluation is not None:
        looks.append(look_at("evaluation", baseline.spec, baseline.evidence.samples))
    return tuple(looks)
