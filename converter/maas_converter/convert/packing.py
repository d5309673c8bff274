"""Turns models and measurements into a manifest and a ``.maas`` file."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maas_agent.bundle.archive import write_bundle
from maas_agent.bundle.manifest import (
    Golden,
    Input,
    Lineage,
    Manifest,
    Metrics,
    Output,
    Requires,
    Stage,
    Tensor,
    decode_manifest,
    digest_of,
    encode_manifest,
    lowest_schema,
)
from maas_agent.bundle.schema import OLDEST
from maas_agent.errors import DataError, UnavailableError, UsageError
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.base import outlet
from maas_converter.bench.blobs import Blobs
from maas_converter.convert.bundle_plan import StagePlan
from maas_converter.convert.graph_file import OutputPlan
from maas_converter.convert.request import ConversionRequest
from maas_converter.tflite.names import Names, names_of

_UNMEASURED_GOLDEN = Golden(blob="0" * 64, size=1, samples=1, tolerance=0.0)
_UNMEASURED = Metrics(float32_bytes=0, bundle_bytes=0)
_UNKNOWN = Lineage(source="", source_sha256="0" * 64, converter="", recipe="")


class PackedBundle(msgspec.Struct, frozen=True):
    """A bundle as it was written; ``digest`` is its identity, that of its manifest."""

    path: Path
    size: int
    digest: str
    signed: bool


class DraftStage(msgspec.Struct, frozen=True):
    """A ``.tflite`` file as a stage, with its tensors as the runtime found them and under the names of its edges."""

    stage: Stage
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def load_stage(tflite: bytes, blobs: Blobs, plan: StagePlan) -> DraftStage:
    """Make a ``.tflite`` file a stage by loading it.

    Raises `RuntimeFailure`, or `DataError` if it has not one input and the plan does not name several.
    """
    digest = blobs.add(tflite)
    model, names = accelerator("cpu").load(blobs.path(digest), 1), names_of(tflite)
    if plan.inputs:
        inputs = _named(plan, "inputs", plan.inputs, _each_renamed(model.inputs, names.inputs))
        outputs = _named(plan, "outputs", plan.outputs, _each_renamed(model.outputs, names.outputs))
    else:
        inputs, outputs = _self_named(names, model)
    taken, made = (tuple(tensor.name for tensor in tensors) for tensors in (inputs, outputs))
    return DraftStage(Stage(plan.name, digest, len(tflite), taken, made, plan.when), inputs, outputs)


def draft(
    request: ConversionRequest, stages: Sequence[DraftStage], outputs: Sequence[OutputPlan], spec: Input
) -> Manifest:
    """A manifest that can be run and measured, but has no measurements: outputs are raw, golden samples are missing.

    Without ``outputs`` they are those of the last stage.
    """
    tensors = {tensor.name: tensor for loaded in reversed(stages) for tensor in loaded.inputs}
    tensors |= {tensor.name: tensor for loaded in stages for tensor in loaded.outputs}  # as made, not as taken
    wanted = outputs or [OutputPlan(tensor.name) for tensor in stages[-1].outputs]
    return Manifest(
        schema=OLDEST,
        name=request.name,
        version=request.version,
        created=_now(),
        stages=tuple(loaded.stage for loaded in stages),
        inputs=(msgspec.structs.replace(spec, tensor=tensors[spec.tensor.name]),),
        outputs=tuple(Output(tensor=tensors[plan.edge], otherwise=plan.otherwise) for plan in wanted),
        golden=_UNMEASURED_GOLDEN,
        metrics=_UNMEASURED,
        # No lowest runtime is known: golden samples, not version numbers, tell whether a device can run it.
        requires=Requires(),
        lineage=_UNKNOWN,
    )


def finish(
    measured: Manifest, outputs: tuple[Output, ...], golden: Golden, metrics: Metrics, lineage: Lineage
) -> bytes:
    """The bytes of the complete manifest, read back as a device will; raises `BundleError`."""
    complete = msgspec.structs.replace(measured, outputs=outputs, golden=golden, metrics=metrics, lineage=lineage)
    data = encode_manifest(msgspec.structs.replace(complete, schema=lowest_schema(complete)))
    decode_manifest(data)
    return data


def write(path: Path, manifest_bytes: bytes, blobs: Blobs, signature: bytes | None) -> PackedBundle:
    """Put the bundle in the place of ``path``; raises `UnavailableError`, with what was there untouched."""
    made = blobs.path("bundle.maas")
    contents = {digest: blobs.read(digest) for digest in decode_manifest(manifest_bytes).blobs()}
    try:
        write_bundle(made, manifest_bytes, contents, signature)
        size = made.stat().st_size
        outlet.deliver(made, path)
        return PackedBundle(path, size, digest_of(manifest_bytes), signed=signature is not None)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror or error}") from None


def _named(plan: StagePlan, what: str, edges: tuple[str, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if len(edges) != len(tensors):
        found = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors)
        raise DataError(
            f"stage {plan.name!r} names {len(edges)} {what}, {plan.source.name} has {len(tensors)}, in this order: "
            f"{found}"
        )
    return _each_renamed(tensors, edges)


def _self_named(names: Names, model: Model) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    if len(model.inputs) != 1:
        raise DataError(f"the model has {len(model.inputs)} inputs ({', '.join(names.inputs)}), a bundle has one")
    return _each_renamed(model.inputs, names.inputs), _each_renamed(model.outputs, names.outputs)


def _each_renamed(tensors: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    return tuple(_renamed(tensor, name) for tensor, name in zip(tensors, names, strict=True))


def _renamed(tensor: Tensor, name: str) -> Tensor:
    return msgspec.structs.replace(tensor, name=name)


def _now() -> str:
    """RFC 3339; ``SOURCE_DATE_EPOCH`` (reproducible-builds.org) stands in for the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        moment = datetime.now(UTC)
    elif epoch.isdecimal() and int(epoch) < 1 << 35:
        moment = datetime.fromtimestamp(int(epoch), UTC)
    else:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}: it has to be whole seconds since 1970")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
