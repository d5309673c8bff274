"""Where in the model quantization hurts: each layer's output, in the float model and in the bundle's, side by side.

A runtime shows outputs only, so both models are written anew with their intermediate tensors as outputs. A layer's
error holds that of all layers before it: where it jumps, that layer is at fault.
"""

import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import RuntimeFailure
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import quantize
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.evidence.signal import SignalSums
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import Contents, GraphFacts, OpFacts, TensorFacts, contents_of

SAMPLES = 32
"""How many samples give a steady figure: a layer has many values in each."""

_CONVERTS = ("QUANTIZE", "DEQUANTIZE")
_MOVES = ("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS")
"""Ops that change no value: their error is that of what they move."""

_AT_ONCE = 64 << 20
"""Bytes of tensors that are kept alive together."""


class LayerError(msgspec.Struct, frozen=True):
    """One op of the float model, and the tensor that stands for its output in the bundle."""

    index: int
    """Of the op, in order of execution."""
    op: str
    name: str
    """What the source called it, as far as the file says."""
    dtype: str
    """Of the tensor in the bundle."""
    snr_db: float | None
    """Signal-to-noise ratio; ``None`` without noise or without signal."""
    cosine: float
    relative_error: float
    """Root of the noise's power over the signal's: 0.1 is an error a tenth as large as the signal."""
    weight_bytes: int
    weight_share: float
    """Of all constants in the bundle's file, as a fraction."""


class Layers(msgspec.Struct, frozen=True):
    """All layers that could be compared, the largest error first."""

    samples: int
    layers: tuple[LayerError, ...]
    skipped: str = ""
    """Why there are none."""


class _Pair(msgspec.Struct, frozen=True):
    """An op of the float model, and the tensors that hold its output: in the float model and in the bundle."""

    op: OpFacts
    before: TensorFacts
    after: TensorFacts
    weight_bytes: int


def layers_of(float32: bytes, bundle: bytes, inputs: NDArray[np.float32]) -> Layers:
    """Compare both models on some of ``inputs`` (N, …input): real values, see `maas_converter.evidence.anomaly`.

    Only the first subgraph is compared. A model this cannot be done with has no layers, and a reason.
    """
    first, second = contents_of(float32), contents_of(bundle)
    if len(first.inputs) != 1 or len(second.inputs) != 1:
        return Layers(0, (), "layers are compared in models of one input")
    pairs = _pairs(first, second)
    if not pairs:
        return Layers(0, (), "the float model and the bundle have no inner tensor in common")
    chosen = inputs[np.unique(np.linspace(0, len(inputs) - 1, SAMPLES, dtype=np.int64))]
    try:
        all_sums = [sums for chunk in _chunks(pairs) for sums in _compare(float32, bundle, chunk, chosen)]
    except RuntimeFailure as error:
        return Layers(0, (), f"with its inner tensors as outputs the model does not run: {error}")
    total = sum(second.constant_bytes.values())
    rows = [_layer(pair, sums, total) for pair, sums in zip(pairs, all_sums, strict=True)]
    return Layers(len(chosen), tuple(sorted(rows, key=lambda row: (-row.relative_error, row.index))))


def _pairs(float32: Contents, bundle: Contents) -> list[_Pair]:
    """Pair the layers of both models by name, which quantizers keep, else by the order of the ops."""
    before, after = float32.graphs[0], bundle.graphs[0]
    by_name = {after.tensors[op.outputs[0]].name: op for op in _computing(after)}
    first, second = _computing(before), _computing(after)
    aligned = [op.name for op in first] == [op.name for op in second]
    pairs = []
    for number, op in enumerate(first):
        tensor = before.tensors[op.outputs[0]]
        other = by_name.get(tensor.name) or (second[number] if aligned else None)
        if other is None or op.name in _MOVES:
            continue
        match = after.tensors[other.outputs[0]]
        if _comparable(tensor, match):
            pairs.append(_Pair(op, tensor, match, _weight_bytes(after, other)))
    return pairs


def _computing(graph: GraphFacts) -> list[OpFacts]:
    return [op for op in graph.ops if op.outputs and op.name not in _CONVERTS]


def _comparable(before: TensorFacts, after: TensorFacts) -> bool:
    shapes = [
        (1, *tensor.shape[1:]) for tensor in (before, after) if tensor.shape
    ]  # whatever the batch, it is run as 1
    same = len(shapes) == 2 and shapes[0] == shapes[1] and -1 not in shapes[0]
    return same and before.dtype == "float32" and (after.dtype == "float32" or after.quantized)


def _weight_bytes(graph: GraphFacts, op: OpFacts) -> int:
    """Constants an op reads; those of 16-bit floats through a DEQUANTIZE."""
    made = {made: other for other in graph.ops for made in other.outputs if other.name == "DEQUANTIZE"}
    read = [made[index].inputs[0] if index in made else index for index in op.inputs if index >= 0]
    return sum(graph.tensors[index].constant_bytes for index in read)


def _chunks(pairs: list[_Pair]) -> Iterator[list[_Pair]]:
    chunk: list[_Pair] = []
    held = 0
    for pair in pairs:
        size = 4 * prod(pair.before.shape[1:])
        if chunk and held + size > _AT_ONCE:
            yield chunk
            chunk, held = [], 0
        chunk.append(pair)
        held += size
    yield chunk


def _compare(float32: bytes, bundle: bytes, pairs: list[_Pair], inputs: NDArray[np.float32]) -> list[SignalSums]:
    all_sums = [SignalSums() for _ in pairs]
    with tempfile.TemporaryDirectory(prefix="maas-layers-") as folder:
        before = _opened(float32, [pair.before.index for pair in pairs], Path(folder) / "float32.tflite")
        after = _opened(bundle, [pair.after.index for pair in pairs], Path(folder) / "bundle.tflite")
        for row in inputs:
            for sums, *values in zip(all_sums, _run(before, row), _run(after, row), strict=True):
                sums.add(*values)
    return all_sums


def _opened(data: bytes, tensors: list[int], path: Path) -> Model:
    """The model with ``tensors`` of its first subgraph as its only outputs."""
    model = files.parse(data)
    model.subgraphs[0].outputs = tensors
    model.signatureDefs = []  # they name outputs that are none any more
    path.write_bytes(files.serialize(model))
    return accelerator("cpu").load(path, 1)


def _run(model: Model, row: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    spec = model.inputs[0]
    stored = model.run([quantize(row, spec.quantization, spec.dtype).reshape(spec.shape)])
    return (dequantizer(tensor)(values) for tensor, values in zip(model.outputs, stored, strict=True))


def _layer(pair: _Pair, sums: SignalSums, total_bytes: int) -> LayerError:
    return LayerError(
        index=pair.op.index,
        op=pair.op.name,
        name=_label(pair.before.name),
        dtype=pair.after.dtype,
        snr_db=sums.snr_db,
        cosine=sums.cosine,
        relative_error=sums.relative_error,
        weight_bytes=pair.weight_bytes,
        weight_share=pair.weight_bytes / total_bytes if total_bytes else 0.0,
    )


def _label(tensor_name: str) -> str:
    """TensorFlow joins the names of ops it fused by ';': the first says enough."""
    return tensor_name.split(";")[0].removeprefix("StatefulPartitionedCall/")
