"""A trained model to a bundle: import, quantize, prove on real data, pack."""

import tempfile
from math import prod
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import Golden, Lineage, Manifest, Metrics, decode_manifest
from maas_converter.base.console import Progress
from maas_converter.bench import measure
from maas_converter.bench.blobs import Blobs
from maas_converter.convert import max_drop, packing
from maas_converter.convert.baseline import Baseline, baseline_of
from maas_converter.convert.calibration_check import scrutinized
from maas_converter.convert.context import Job
from maas_converter.convert.importing import Brought, bring
from maas_converter.convert.lineage import lineage_of
from maas_converter.convert.quantize_stages import Shipped, ship
from maas_converter.convert.reporting import candidates_of, report
from maas_converter.convert.request import Order, named_by_model, read
from maas_converter.convert.validation import Proof, agreement_of, golden_of, metrics_of, notes_of, outputs_of, prove
from maas_converter.evidence.record import Candidate, Judged
from maas_converter.importers.agreement import Agreement
from maas_converter.quantize.recipes import AS_IS, AUTO
from maas_converter.quantize.search.candidates.outcome import Found, HeldOut
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
    candidates: tuple[Candidate, ...]
    """What ``--quantize auto`` looked at."""
    held_out: HeldOut | None
    """What it chose, on samples that the search had not seen."""
    report: str | None
    """The folder that ``--report`` names."""
    notes: tuple[str, ...]
    warning: str = ""
    """What comes before everything else: more is lost than the bound, or nothing shows how much."""
    agreements: dict[str, Agreement] = {}
    """By stage, how far its import was from the source's own framework."""
    lost_points: float | None = None
    """See `maas_converter.convert.max_drop`."""


def convert(order: Order, progress: Progress) -> Conversion:
    """Convert, or raise a `MaasError` and leave ``order.out`` as it is."""
    # (1) Whatever can be refused without work, before seconds are spent.
    given = read(order)
    with tempfile.TemporaryDirectory(prefix="maas-convert-") as scratch:
        job = Job(order, given, Path(scratch), Blobs(Path(scratch)), progress)
        # (2) The models as they came, run on the data: what everything else is compared with.
        brought = bring(job)
        job = _informed(job, brought)
        baseline = baseline_of(job, brought)
        # (3) Nothing is calibrated with data unlike those the device will see.
        verdict = scrutinized(job, brought, baseline)
        # (4) Both run as a device would run them: the very files, in the very class that serves.
        shipped = ship(job, brought, baseline)
        proof = _proven(job, brought, baseline, shipped)
        loss = _bounded(job, brought, baseline, proof)
        # (5) What they showed goes into the manifest, the manifest into the file, the file under its name.
        lineage = lineage_of(job, brought, shipped, verdict.forced)
        notes = (*_notes(job, brought, shipped), *verdict.notes)
        manifest_bytes, notes = _finished(job, brought, baseline, proof, lineage, notes)
        manifest = decode_manifest(manifest_bytes)
        warned = tuple(filter(None, [_warning(job, brought, loss)]))
        report(job, manifest, baseline, shipped, proof, (*warned, *notes))
        packed = packing.write(order.out, manifest_bytes, job.blobs, _signature(order.keys, manifest_bytes))
        conversion = _conversion(order, manifest, packed, baseline, shipped, proof, notes)
        points = loss.points if loss is not None else None
        return msgspec.structs.replace(
            conversion,
            warning=_warning(job, brought, loss),
            agreements={one.plan.name: one.imported.agreement for one in brought if one.imported.agreement is not None},
            lost_points=points,
        )


def _informed(job: Job, brought: tuple[Brought, ...]) -> Job:
    """``job`` with the labels that the only model has itself, where nobody gave others, and what ``y`` means for it."""
    outputs = contents_of(brought[-1].imported.tflite).outputs
    if not job.given.plan.single:
        return job
    own = brought[0].imported.metadata.labels
    found = next((own[tensor.index] for tensor in outputs if tensor.index in own), ())
    given = job.given
    if found and not given.labels_asked:
        given = named_by_model(given, job.order, found)
    if len(outputs) == 1:
        given = given.meant_for(prod(outputs[0].shape))
    return msgspec.structs.replace(job, given=given)


def _bounded(job: Job, brought: tuple[Brought, ...], baseline: Baseline, proof: Proof) -> max_drop.Loss | None:
    """What was lost; raises `DataError` if that is more than ``--max-drop``, which a search has seen to itself."""
    loss = max_drop.loss_of(proof, baseline.only_kind)
    if brought[0].recipe.name != AUTO:
        max_drop.enforce(job.order.max_drop, _recipes(brought), loss)
    return loss


def _warning(job: Job, brought: tuple[Brought, ...], loss: max_drop.Loss | None) -> str:
    quantized = any(one.recipe.quantized and one.recipe is not AS_IS for one in brought)
    return max_drop.warning_of(job.order.max_drop, _recipes(brought), quantized, job.given.evaluation is not None, loss)


def _recipes(brought: tuple[Brought, ...]) -> str:
    return ", ".join(dict.fromkeys(one.recipe.name for one in brought))


def _proven(job: Job, brought: tuple[Brought, ...], baseline: Baseline, shipped: Shipped) -> Proof:
    pairs = zip(shipped.tflites, brought, strict=True)
    stages = tuple(packing.load_stage(tflite, job.blobs, one.plan) for tflite, one in pairs)
    manifest = packing.draft(job.order, stages, job.given.plan.outputs, baseline.spec)
    return prove(job, baseline, manifest, compared=any(one.recipe is not AS_IS for one in brought))


def _finished(
    job: Job,
    brought: tuple[Brought, ...],
    baseline: Baseline,
    proof: Proof,
    lineage: Lineage,
    notes: tuple[str, ...],
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of the manifest, and ``notes`` with those of the proof."""
    draft = proof.bundle.manifest
    stored, count, tolerance = golden_of(proof, quantized=any(one.recipe.quantized for one in brought))
    golden = Golden(job.blobs.add(stored.blob), len(stored.blob), count, tolerance, stored.inflated)
    outputs = outputs_of(proof, baseline)
    return packing.finish(draft, outputs, golden, metrics_of(proof), lineage), (*notes, *notes_of(proof, baseline))


def _notes(job: Job, brought: tuple[Brought, ...], shipped: Shipped) -> tuple[str, ...]:
    """What importing, reading and quantizing decided without being asked."""
    imported = [note for one in brought for note in one.imported.notes]
    if job.given.labels_asked and job.order.labels is None:
        imported.append(f"{len(job.given.labels)} labels are those of the model's own TFLite metadata")
    read_ = [note for dataset in job.given.datasets for note in dataset.notes]
    kept = [f"{one.plan.source.name} came quantized and is packed as it is" for one in brought if one.recipe is AS_IS]
    found = shipped.found
    searched = (_effort(found), *found.notes) if found is not None else ()
    stayed = [f"stayed float: {', '.join(shipped.allowed_float)}"] if shipped.allowed_float else []
    return (*imported, *read_, *kept, *searched, *shipped.kept, *stayed)


def _effort(found: Found) -> str:
    known = f", {found.resumed} figures known of an earlier search" if found.resumed else ""
    return f"auto ran {found.evaluations} models{known}"


def _conversion(
    order: Order,
    manifest: Manifest,
    packed: packing.Packed,
    baseline: Baseline,
    shipped: Shipped,
    proof: Proof,
    notes: tuple[str, ...],
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
        judged=proof.judged,
        float32_time=proof.float32.time if proof.float32 is not None else None,
        bundle_time=proof.bundle.time,
        agreement=agreement_of(proof, baseline),
        samples=len(proof.evidence.samples),
        golden=manifest.golden,
        lineage=manifest.lineage,
        candidates=candidates_of(shipped.found),
        held_out=shipped.found.held_out if shipped.found is not None else None,
        report=str(order.report) if order.report is not None else None,
        notes=notes,
    )


def _signature(keys: Path | None, manifest_bytes: bytes) -> bytes | None:
    if keys is None:
        return None
    # Imported late: only signing needs cryptography.
    from maas_converter.publishing.keys.key_files import sign_manifest

    return sign_manifest(keys, manifest_bytes)
