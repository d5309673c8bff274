"""Turns models and measurements into a manifest and a ``.maas`` file."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maas_agent.bundle.archive import write_bundle
from maas_agent.bundle.manifest import (
    SCHEMA,
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
)
from maas_agent.errors import DataError, UnavailableError, UsageError
from maas_agent.runtime.selection import accelerator
from maas_converter.blobs import Blobs

_UNMEASURED_GOLDEN = Golden(blob="0" * 64, size=1, samples=1, tolerance=0.0)
_UNMEASURED = Metrics(float32_bytes=0, bundle_bytes=0)


class Packed(msgspec.Struct, frozen=True):
    """A bundle as it was written; ``digest`` is its identity, that of its manifest."""

    path: Path
    size: int
    digest: str
    signed: bool


class Loaded(msgspec.Struct, frozen=True):
    """A ``.tflite`` file as a stage, with its tensors as the runtime found them and under the names of its edges."""

    stage: Stage
    input: Tensor
    outputs: tuple[Tensor, ...]


def load_stage(tflite: bytes, blobs: Blobs, name: str = "model") -> Loaded:
    """Make a ``.tflite`` file a stage by loading it; raises `RuntimeFailure`, `DataError` if it has not one input."""
    digest = blobs.add(tflite)
    model = accelerator("cpu").load(blobs.path(digest), 1)
    if len(model.inputs) != 1:
        raise DataError(f"the model has {len(model.inputs)} inputs, a bundle has one")
    given = _renamed(model.inputs[0], _edge(model.inputs[0].name, "input"))
    made = [f"output_{number}" if len(model.outputs) > 1 else "output" for number in range(len(model.outputs))]
    outputs = tuple(
        _renamed(tensor, _edge(tensor.name, default)) for tensor, default in zip(model.outputs, made, strict=True)
    )
    if len({given.name, *(tensor.name for tensor in outputs)}) <= len(outputs):
        outputs = tuple(_renamed(tensor, default) for tensor, default in zip(outputs, made, strict=True))
    edges = tuple(tensor.name for tensor in outputs)
    return Loaded(Stage(name, digest, len(tflite), inputs=(given.name,), outputs=edges), given, outputs)


def draft(name: str, version: str, loaded: Loaded, spec: Input, lineage: Lineage) -> Manifest:
    """A manifest that can be run and measured, but has no measurements: outputs are raw, golden samples are missing."""
    return Manifest(
        schema=SCHEMA,
        name=name,
        version=version,
        created=_now(),
        stages=(loaded.stage,),
        inputs=(msgspec.structs.replace(spec, tensor=loaded.input),),
        outputs=tuple(Output(tensor=tensor) for tensor in loaded.outputs),
        golden=_UNMEASURED_GOLDEN,
        metrics=_UNMEASURED,
        # No lowest runtime is known: golden samples, not version numbers, tell whether a device can run it.
        requires=Requires(),
        lineage=lineage,
    )


def finish(measured: Manifest, outputs: tuple[Output, ...], golden: Golden, metrics: Metrics) -> bytes:
    """The bytes of the complete manifest, read back as a device will; raises `BundleError`."""
    complete = msgspec.structs.replace(measured, outputs=outputs, golden=golden, metrics=metrics)
    data = encode_manifest(complete)
    decode_manifest(data)
    return data


def write(path: Path, manifest_bytes: bytes, blobs: Blobs, signature: bytes | None) -> Packed:
    """Write the bundle beside ``path`` and rename it over; raises `UnavailableError`, with what was there untouched."""
    contents = {digest: blobs.read(digest) for digest in decode_manifest(manifest_bytes).blobs()}
    try:
        write_bundle(path, manifest_bytes, contents, signature)
        return Packed(path, path.stat().st_size, digest_of(manifest_bytes), signed=signature is not None)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror or error}") from None


def _edge(tensor_name: str, default: str) -> str:
    """The name a person gave the tensor; TensorFlow wraps inputs' and loses outputs'."""
    plain = re.sub(r"(^serving_default_|:\d+$)", "", tensor_name)
    return default if not plain or plain.startswith("StatefulPartitionedCall") else plain


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
