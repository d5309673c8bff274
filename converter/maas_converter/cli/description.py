"""What is in a bundle: for programs as one document, for people as lines of names and values."""

from pathlib import Path
from typing import Any

import msgspec

from maas_agent.bundle.archive import Bundle
from maas_agent.bundle.manifest import Accuracy, Decode, Input, Manifest, Output, Stage, Tensor, When
from maas_agent.bundle.signature import decode_envelope
from maas_converter.base.json_output import whole

Facts = list[tuple[str, str]]


class BundleDescription(msgspec.Struct, frozen=True):
    """A bundle that was opened and verified; ``signed_by`` are the key ids in its signature, which is not verified."""

    path: str
    bytes: int
    digest: str
    signed: bool
    signed_by: tuple[str, ...]
    manifest: Manifest


def describe_bundle(path: Path, bundle: Bundle) -> BundleDescription:
    """Describe an open bundle; raises `BundleError` if its signature file is none."""
    signature = bundle.signature()
    keys = decode_envelope(signature).signatures if signature is not None else ()
    return BundleDescription(
        path=str(path),
        bytes=path.stat().st_size,
        digest=bundle.digest,
        signed=signature is not None,
        signed_by=tuple(key.keyid for key in keys),
        manifest=bundle.manifest,
    )


def document(contents: BundleDescription) -> dict[str, Any]:
    """The ``--json`` document: the manifest's own fields beside what is known of the file."""
    described: dict[str, Any] = whole(contents)
    manifest: dict[str, Any] = described.pop("manifest")
    return described | manifest


def facts(contents: BundleDescription) -> Facts:
    """Describe a bundle to a person, as lines of a name and a value."""
    manifest = contents.manifest
    signed = f"signed by {', '.join(key[:16] for key in contents.signed_by)}" if contents.signed else "unsigned"
    return [
        ("name", manifest.name),
        ("version", manifest.version),
        ("digest", contents.digest),
        ("file", f"{contents.path}, {contents.bytes} bytes, {signed}"),
        ("created", manifest.created),
        *(line for spec in manifest.inputs for line in _input(spec)),
        *(line for spec in manifest.outputs for line in _output(spec)),
        *(_stage(stage) for stage in manifest.stages),
        ("golden", f"{manifest.golden.samples} samples, tolerance {manifest.golden.tolerance:.4g}"),
        *_metrics(manifest),
        *_origin(manifest),
    ]


def accuracy_text(accuracy: Accuracy) -> str:
    """The drop with its interval, as people write it."""
    if accuracy.drop_points is None or accuracy.interval_points is None:
        return "not measured"
    low, high = accuracy.interval_points
    return f"{accuracy.drop_points:+.2f} points ({low:+.2f} … {high:+.2f})"


def _turned(decode: Decode) -> str:
    """What a picture file is more than its pixels, where that is not as usual."""
    ground = f", transparency over {list(decode.background)}" if decode.background else ""
    return (", as stored" if decode.orientation == "stored" else "") + ground


def _input(spec: Input) -> Facts:
    decode = spec.decode
    form = f", images: {decode.color}, {decode.resize}{_turned(decode)}" if len(decode.shape) in (2, 3) else ""
    if decode.sample_rate:
        form = f", sound at {decode.sample_rate} Hz"
    steps = [_step(whole(step)) for step in spec.preprocess]
    return [
        ("input", _tensor(spec.tensor)),
        ("  sample", f"{list(decode.shape)} {decode.dtype}, {decode.sample_bytes} bytes{form}"),
        ("  preprocess", ", then ".join(steps) or "none"),
    ]


def _output(spec: Output) -> Facts:
    labels = f"{len(spec.labels)}: {', '.join(spec.labels[:10])}" + (", …" if len(spec.labels) > 10 else "")
    return [
        ("output", _tensor(spec.tensor)),
        ("  answer", _step(whole(spec.postprocess), "kind")),
        ("  labels", labels if spec.labels else "none"),
        *([("  otherwise", spec.otherwise)] if spec.otherwise else []),
    ]


def _stage(stage: Stage) -> tuple[str, str]:
    condition = f", when {_condition(stage.when)}" if stage.when is not None else ""
    return ("stage", f"{stage.name}, {stage.size} bytes, {stage.blob[:16]}…{condition}")


def _condition(when: When) -> str:
    value = f"the largest of {when.edge!r}" if when.index is None else f"{when.edge!r}[{when.index}]"
    return f"{value} is below {when.below:g}" if when.below is not None else f"{value} is at least {when.at_least:g}"


def _tensor(tensor: Tensor) -> str:
    stored = tensor.quantization
    steps = f", real = (stored - {stored.zero_point}) * {stored.scale:.6g}" if stored is not None else ""
    return f"{tensor.name}, {list(tensor.shape)} {tensor.dtype}{steps}"


def _step(fields: dict[str, Any], tag: str = "op") -> str:
    name = fields.pop(tag)
    return " ".join([str(name), *(f"{key}={value}" for key, value in fields.items())])


def _metrics(manifest: Manifest) -> Facts:
    metrics = manifest.metrics
    before = f"float32 {metrics.float32_bytes} bytes, " if metrics.float32_bytes else ""
    lines = [("size", f"{before}this bundle {metrics.bundle_bytes} bytes")]
    for name, accuracy in metrics.accuracy.items():
        figures = _both(accuracy.float32, accuracy.bundle, ".2%") + f", drop {accuracy_text(accuracy)}"
        lines.append(("accuracy", f"{name}, {accuracy.samples} samples: {figures}"))
    for name, errors in metrics.regression.items():
        mae, rmse = (
            _both(before_, after, ".4g")
            for before_, after in ((errors.float32_mae, errors.bundle_mae), (errors.float32_rmse, errors.bundle_rmse))
        )
        lines.append(("error", f"{name}, {errors.samples} samples: mean absolute {mae}; root mean squared {rmse}"))
    for name, anomaly in metrics.anomaly.items():
        auc = _both(anomaly.float32_auc, anomaly.bundle_auc, ".4f")
        lines.append(("ROC AUC", f"{name}, {anomaly.samples} samples: {auc}"))
    if metrics.latency is not None:
        latency = metrics.latency
        times = _both(latency.float32_p50_ms, latency.bundle_p50_ms, "g", " ms")
        lines.append(("latency", f"{times}, 99 % below {latency.bundle_p99_ms} ms, {latency.host}"))
    return lines


def _both(float32: float | None, bundle: float, form: str, unit: str = "") -> str:
    before = f"float32 {float32:{form}}{unit}, " if float32 is not None else ""
    return f"{before}this bundle {bundle:{form}}{unit}"


def _origin(manifest: Manifest) -> Facts:
    lineage, requires = manifest.lineage, manifest.requires
    calibration = f", calibrated on {lineage.calibration_sha256[:16]}…" if lineage.calibration_sha256 else ""
    return [
        ("requires", f"{requires.runtime or 'any runtime'}, known good on {', '.join(requires.accelerators)}"),
        ("made from", f"{lineage.source}, {lineage.source_sha256[:16]}…"),
        ("made by", f"maas-converter {lineage.converter}, recipe {lineage.recipe}{calibration}"),
        *(("precision", f"{op}: {chosen}") for op, chosen in lineage.precision.items()),
        *(("forced", finding) for finding in lineage.forced),
        *(("stayed float", op) for op in lineage.allowed_float),
    ]
