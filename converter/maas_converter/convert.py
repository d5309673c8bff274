"""A trained model to a bundle: import, quantize, prove on real data, pack."""

import tempfile
from pathlib import Path

import msgspec

from maas_agent import __version__
from maas_agent.bundle.golden import encode_golden
from maas_agent.bundle.manifest import Golden, Input, Lineage, Manifest, Metrics, Output, decode_manifest
from maas_converter import data, measure, pack, postprocess, samples
from maas_converter.blobs import Blobs
from maas_converter.console import Progress
from maas_converter.importers.process import Imported, import_model
from maas_converter.order import Given, Order, read
from maas_converter.proof import Proof, agreement_of, evidence_of, golden_of, metrics_of, outputs_of, prove
from maas_converter.quantize.calibration import quantize


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
    float32_time: measure.Timing
    bundle_time: measure.Timing
    agreement: float | None
    """How often (a fraction) the float model and the bundle name the same class."""
    samples: int
    golden: Golden
    notes: tuple[str, ...]


def convert(order: Order, progress: Progress) -> Conversion:
    """Convert, or raise a `MaasError` and leave ``order.out`` as it is."""
    # (1) Whatever can be refused without work, before seconds are spent.
    given = read(order)
    with tempfile.TemporaryDirectory(prefix="maas-convert-") as folder:
        blobs = Blobs(Path(folder))
        progress.step(f"importing {order.source.name}")
        imported = import_model(order.source, Path(folder))
        # (2) Both models run as a device would run them: the very files, in the very class that serves.
        proof = _proven(order, given, imported, blobs, progress)
        # (3) What they showed goes into the manifest, the manifest into the file, the file under its name.
        return _packed(order, given, proof, blobs)


def _proven(order: Order, given: Given, imported: Imported, blobs: Blobs, progress: Progress) -> Proof:
    original = pack.load_stage(imported.tflite, blobs)
    spec = samples.input_of(original.input, given.processing, given.datasets)
    evidence = evidence_of(given, spec, original.outputs)
    _check_labels(given, original)
    shipped = pack.load_stage(_quantized(given, imported, spec, progress), blobs)
    lineage = _lineage(order, given, imported)
    before, after = (pack.draft(order.name, order.version, stage, spec, lineage) for stage in (original, shipped))
    return prove(before, after, blobs, evidence, progress)


def _quantized(given: Given, imported: Imported, spec: Input, progress: Progress) -> bytes:
    calibration = data.samples_of(given.calibration, spec.decode) if given.calibration is not None else None
    if given.recipe.build is not None:
        progress.step(f"quantizing to {given.recipe.name}")
    return quantize(imported.tflite, given.recipe, spec, calibration, progress)


def _packed(order: Order, given: Given, proof: Proof, blobs: Blobs) -> Conversion:
    golden_samples, tolerance = golden_of(proof, quantized=given.recipe.quantized)
    blob = encode_golden(golden_samples)
    golden = Golden(blobs.add(blob), len(blob), len(golden_samples.samples), tolerance)
    outputs = outputs_of(proof, given)
    manifest_bytes = pack.finish(proof.manifest, outputs, golden, metrics_of(proof, given))
    packed = pack.write(order.out, manifest_bytes, blobs, _signature(order.keys, manifest_bytes))
    return _conversion(decode_manifest(manifest_bytes), packed, proof, _notes(given, proof, outputs))


def _conversion(manifest: Manifest, packed: pack.Packed, proof: Proof, notes: tuple[str, ...]) -> Conversion:
    return Conversion(
        name=manifest.name,
        version=manifest.version,
        path=str(packed.path),
        bytes=packed.size,
        digest=packed.digest,
        signed=packed.signed,
        recipe=manifest.lineage.recipe,
        metrics=manifest.metrics,
        float32_time=proof.float32.time,
        bundle_time=proof.bundle.time,
        agreement=agreement_of(proof),
        samples=len(proof.evidence.samples),
        golden=manifest.golden,
        notes=notes,
    )


def _notes(given: Given, proof: Proof, outputs: tuple[Output, ...]) -> tuple[str, ...]:
    """What was decided without being asked, and on what grounds."""
    notes = [f"golden samples and decisions rest on {len(proof.evidence.samples)} samples: {proof.evidence.origin}"]
    if given.evaluation is None:
        notes.append("accuracy was not measured: give --evaluation DATA with classes 'y'")
    elif proof.evidence.y is None:
        why = "it holds no 'y'" if given.evaluation.y is None else "the model has no single output with classes"
        notes.append(f"accuracy was not measured on {given.evaluation.path.name}: {why}")
    for output, values in zip(outputs, proof.float32.answers.values(), strict=True):
        known = bool(output.labels) or proof.evidence.y is not None
        notes.append(f"output {output.tensor.name!r}: {postprocess.tell(values, known_classes=known)[1]}")
    return tuple(notes)


def _check_labels(given: Given, original: pack.Loaded) -> None:
    """Before the minutes that quantizing and evaluating may take."""
    for tensor in original.outputs:
        postprocess.check_labels(tensor, given.labels)


def _lineage(order: Order, given: Given, imported: Imported) -> Lineage:
    used = given.calibration if given.recipe.calibrated else None
    return Lineage(
        source=order.source.name,
        source_sha256=imported.source_sha256,
        converter=__version__,
        recipe=given.recipe.name,
        calibration_sha256=used.sha256 if used is not None else None,
    )


def _signature(keys: Path | None, manifest_bytes: bytes) -> bytes | None:
    if keys is None:
        return None
    # Imported late: only signing needs cryptography.
    from maas_converter.keys import sign_manifest

    return sign_manifest(keys, manifest_bytes)
