"""What is in a ``.tflite`` file: its tensors, its ops, and how many of its bytes have which type."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import msgspec

from maas_converter.tflite import model as files

_STORES = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")


class TensorFacts(msgspec.Struct, frozen=True):
    """One tensor; ``constant_bytes`` is 0 for one that is computed."""

    index: int
    name: str
    shape: tuple[int, ...]
    """-1 for a size that is not fixed, else as it is allocated."""
    dtype: str
    constant_bytes: int
    quantized: bool
    """Whether it has quantization parameters."""


class OpFacts(msgspec.Struct, frozen=True):
    """One op of a graph. Inputs and outputs are tensor indexes of its subgraph; optional inputs left out are -1."""

    subgraph: int
    index: int
    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activated: bool = False
    """Whether an activation is fused into it."""


class GraphFacts(msgspec.Struct, frozen=True):
    """One subgraph; the first is the model, others are bodies of control flow."""

    tensors: tuple[TensorFacts, ...]
    ops: tuple[OpFacts, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Contents(msgspec.Struct, frozen=True):
    """What a whole ``.tflite`` file holds."""

    size: int
    graphs: tuple[GraphFacts, ...]
    signatures: tuple[str, ...]
    """Keys of the SignatureDefs; a file without any runs, but litert-quantizer's static mode fails on it."""
    constant_bytes: dict[str, int]
    """Bytes of weights and other constants by dtype, each buffer counted once."""

    @property
    def inputs(self) -> tuple[TensorFacts, ...]:
        """The model's inputs."""
        return tuple(self.graphs[0].tensors[index] for index in self.graphs[0].inputs)

    @property
    def outputs(self) -> tuple[TensorFacts, ...]:
        """The model's outputs."""
        return tuple(self.graphs[0].tensors[index] for index in self.graphs[0].outputs)

    @property
    def ops(self) -> tuple[OpFacts, ...]:
        """All ops of all subgraphs, in order of execution within each."""
        return tuple(op for graph in self.graphs for op in graph.ops)

    @property
    def custom_ops(self) -> tuple[str, ...]:
        """Names of ops that are not built in (Select TF ops: ``Flex…``), each once, sorted; LiteRT has some of them."""
        return tuple(sorted({op.name for op in self.ops if op.custom}))

    @property
    def quantized(self) -> bool:
        """Whether some op computes with quantized integers.

        QUANTIZE and DEQUANTIZE alone do not: training for quantization leaves pairs of them in a model of floats, and
        weights may be stored in integers that become floats before they are used.
        """
        return any(tensor.quantized for tensor in self._computed_with())

    @property
    def hybrid(self) -> bool:
        """Whether that is so of constants only: ops multiply integer weights, but take and make floats."""
        return self.quantized and all(tensor.constant_bytes for tensor in self._computed_with())

    def _computed_with(self) -> Iterator[TensorFacts]:
        for op in self.ops:
            for index in (*op.inputs, *op.outputs) if op.name not in _STORES else ():
                tensor = self.graphs[op.subgraph].tensors[index]
                if index >= 0 and tensor.quantized and "int" in tensor.dtype:
                    yield tensor

    @property
    def has_control_flow(self) -> bool:
        """Whether there are loops or branches (recurrent layers of Keras 3 become a WHILE)."""
        return len(self.graphs) > 1

    def output_of(self, op: OpFacts) -> TensorFacts:
        """The first output of an op: its name says which layer of the source the op came from."""
        return self.graphs[op.subgraph].tensors[op.outputs[0]]


def contents_of(data: bytes) -> Contents:
    """Read a ``.tflite`` file; raises `DataError` if it is none or damaged. Nothing is run."""
    return describe(files.parse(data), len(data))


def describe(model: Any, size: int) -> Contents:
    """Describe a model that is parsed already; ``size`` is that of its file, in bytes."""
    return Contents(
        size=size,
        graphs=tuple(_graph(model, number, graph) for number, graph in enumerate(model.subgraphs)),
        signatures=tuple(files.text(signature.signatureKey) for signature in model.signatureDefs or ()),
        constant_bytes=_constant_bytes(model),
    )


def _graph(model: Any, number: int, graph: Any) -> GraphFacts:
    return GraphFacts(
        tensors=tuple(_tensor(model, index, tensor) for index, tensor in enumerate(graph.tensors or ())),
        ops=tuple(_op(model, number, index, op) for index, op in enumerate(graph.operators or ())),
        inputs=_indexes(graph.inputs),
        outputs=_indexes(graph.outputs),
    )


def _tensor(model: Any, index: int, tensor: Any) -> TensorFacts:
    signature = _indexes(tensor.shapeSignature)
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return TensorFacts(
        index=index,
        name=files.text(tensor.name),
        shape=signature if -1 in signature else _indexes(tensor.shape),
        dtype=files.type_name(tensor),
        constant_bytes=len(files.data_of(model, tensor)),
        # Blockwise quantization keeps its scales in a tensor of their own.
        quantized=(scales is not None and len(scales) > 0)
        or (tensor.quantization is not None and tensor.quantization.details is not None),
    )


def _op(model: Any, subgraph: int, index: int, op: Any) -> OpFacts:
    return OpFacts(
        subgraph=subgraph,
        index=index,
        name=files.op_name(model, op),
        custom=files.is_custom(model, op),
        inputs=_indexes(op.inputs),
        outputs=_indexes(op.outputs),
        activated=bool(getattr(op.builtinOptions, "fusedActivationFunction", 0)),
    )


def _constant_bytes(model: Any) -> dict[str, int]:
    counted: Counter[str] = Counter()
    seen: set[int] = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors or ():
            held = len(files.data_of(model, tensor))
            if held and tensor.buffer not in seen and prod(_indexes(tensor.shape)) > 0:
                seen.add(tensor.buffer)
                counted[files.type_name(tensor)] += held
    return dict(sorted(counted.items()))


def _indexes(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values) if values is not None else ()
