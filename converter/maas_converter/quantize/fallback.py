"""No silent fallback: what a quantized file really computes with, read from the file, against what was asked for.

litert-quantizer leaves alone what it has no integer form of, and says nothing. An op computes in what its output is
stored as. How much work an op is counts in multiply-accumulates, one for each value of ops that have none. What takes
or gives no real quantity (truth values, indexes, counts, as CAST, ONE_HOT and ARG_MAX do) has nothing to quantize: it
is no work.
"""

from math import prod
from typing import Literal

import msgspec

from maas_agent.errors import DataError
from maas_converter.quantize.guard.finding import percent
from maas_converter.quantize.recipes import Recipe
from maas_converter.tflite.contents import Contents, GraphFacts, OpFacts, TensorFacts, contents_of

SHARE = 0.05
"""What may stay float of the bytes of weights, and of the work, before that is an error."""

Kind = Literal["float", "hybrid", "integer"]

_WEIGHTS_AT = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1, "CONV_3D": 1,
    "BATCH_MATMUL": 1, "EMBEDDING_LOOKUP": 1, "GATHER": 0,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1, "UNIDIRECTIONAL_SEQUENCE_RNN": 1, "SVDF": 1,
}  # fmt: skip
"""Which input of an op holds weights, if it is constant."""

_MOVES = frozenset(
    ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "WHILE", "IF", "CALL_ONCE", "VAR_HANDLE")
)
"""Ops that compute nothing themselves."""

_RENAMED = "_quantized"
"""What the library puts behind the name of an output of the model that it adds an op to: that takes over the name."""

_FLOATS = frozenset(["float16", "float32", "float64", "bfloat16"])
_MOST_NAMED = 5


class OpPrecision(msgspec.Struct, frozen=True):
    """One op that computes; ``label`` is what the source calls it, ``work`` its multiply-accumulates."""

    name: str
    label: str
    kind: Kind
    dtype: str
    """Of its output."""
    work: int
    weight_bytes: int
    float_weights: bool

    @property
    def title(self) -> str:
        """The op's kind and its name in the source, for a sentence and the manifest."""
        return f"{self.name} {self.label}".strip()


class Precision(msgspec.Struct, frozen=True):
    """What a file computes with."""

    constant_bytes: dict[str, int]
    """Weights and other constants by dtype."""
    ops: tuple[OpPrecision, ...]
    inputs: tuple[str, ...]
    """Types of the model's inputs, in order."""
    outputs: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, int]:
        """How many ops compute in which type; ``hybrid`` ones multiply integer weights and give floats."""
        named = ["hybrid" if op.kind == "hybrid" else op.dtype for op in self.ops]
        return {name: named.count(name) for name in sorted(set(named))}


def precision_of(data: bytes) -> Precision:
    """Read a ``.tflite`` file, quantized or not; raises `DataError` if it is none."""
    contents = contents_of(data)
    found = (_op_precision(contents, op) for op in contents.ops)
    return Precision(
        constant_bytes=contents.constant_bytes,
        ops=tuple(op for op in found if op is not None),
        inputs=tuple(tensor.dtype for tensor in contents.inputs),
        outputs=tuple(tensor.dtype for tensor in contents.outputs),
    )


def check(
    precision: Precision, recipe: Recipe, allow_float: bool, kept: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The ops that stayed float although ``recipe`` promises integers: their names, for the manifest.

    Raises `DataError` with them if they hold more than `SHARE` of the weights or of the work, unless ``allow_float``.
    Of a recipe that leaves activations float only weights count. ``kept`` are labels of ops that are float on purpose,
    see `maas_converter.quantize.kept_float`: these are no fallback.
    """
    if recipe.computes == "float":
        return ()
    hybrid = recipe.computes == "hybrid"
    left = [op for op in precision.ops if (op.float_weights if hybrid else op.kind != "integer")]
    left = [op for op in left if op.label not in kept]
    weights = _share([op.weight_bytes for op in left if op.float_weights], [op.weight_bytes for op in precision.ops])
    work = 0.0 if hybrid else _share([op.work for op in left], [op.work for op in precision.ops])
    if max(weights, work) > SHARE and not allow_float:
        stayed = f"{percent(weights)} of the weights" + ("" if hybrid else f" and {percent(work)} of the work")
        other = "int8" if hybrid else "dynamic, which quantizes weights only"
        raise DataError(
            f"--quantize {recipe.name} left {stayed} float (at most {percent(SHARE)}): there is no "
            f"{recipe.name} form of {_listed(left)}. Accept that with --allow-float, or try --quantize {other}"
        )
    return tuple(op.title for op in left)


def _op_precision(contents: Contents, op: OpFacts) -> OpPrecision | None:
    """``None`` for what computes nothing, or what takes or gives indexes, truth values and shapes only."""
    graph = contents.graphs[op.subgraph]
    if op.name in _MOVES or not op.outputs:
        return None
    output = graph.tensors[op.outputs[0]]
    weights = _weights(graph, op)
    kind = _kind(graph, op, output, weights)
    if kind is None:
        return None
    return OpPrecision(
        name=op.name,
        label=output.name.split(";")[0].removesuffix(_RENAMED),
        kind=kind,
        dtype=output.dtype,
        work=_work(graph, op, output),
        weight_bytes=weights.constant_bytes if weights is not None else 0,
        float_weights=weights is not None and weights.dtype in _FLOATS,
    )


def _kind(graph: GraphFacts, op: OpFacts, output: TensorFacts, weights: TensorFacts | None) -> Kind | None:
    given = [graph.tensors[index] for index in op.inputs if index >= 0]
    read = [tensor for tensor in given if not tensor.constant_bytes] or given
    floats = [tensor for tensor in (output, *read) if tensor.dtype in _FLOATS]
    if weights is not None and floats:
        return "hybrid" if weights.dtype not in _FLOATS else "float"
    if any(tensor.quantized for tensor in (output, *read)) and not floats:
        return "integer"
    return "float" if _is_real(output) and any(map(_is_real, read)) else None


def _is_real(tensor: TensorFacts) -> bool:
    return tensor.quantized or tensor.dtype in _FLOATS


def _weights(graph: GraphFacts, op: OpFacts) -> TensorFacts | None:
    """The constant an op multiplies by; through a DEQUANTIZE, if it is stored in fewer bits than it is used in."""
    place = _WEIGHTS_AT.get(op.name)
    if place is None or place >= len(op.inputs) or op.inputs[place] < 0:
        return None
    tensor = graph.tensors[op.inputs[place]]
    made = next((other for other in graph.ops if other.name == "DEQUANTIZE" and tensor.index in other.outputs), None)
    if made is not None:
        stored = graph.tensors[made.inputs[0]]
        # It is multiplied as float, however it is stored.
        return msgspec.structs.replace(tensor, constant_bytes=stored.constant_bytes) if stored.constant_bytes else None
    return tensor if tensor.constant_bytes else None


def _work(graph: GraphFacts, op: OpFacts, output: TensorFacts) -> int:
    made, given = _count(output.shape), [_count(graph.tensors[index].shape) for index in op.inputs if index >= 0]
    shapes = [graph.tensors[index].shape if index >= 0 else () for index in op.inputs]
    match op.name:
        case "CONV_2D" | "FULLY_CONNECTED":
            return made * _count(shapes[1][1:])
        case "DEPTHWISE_CONV_2D":
            return made * _count(shapes[1][1:3])
        case "CONV_3D":
            return made * _count(shapes[1][:-1])
        case "TRANSPOSE_CONV":
            return _count(shapes[2]) * _count(shapes[1][:3])
        case "BATCH_MATMUL":
            return made * abs(shapes[0][-1]) if shapes[0] else made
        case "GATHER" | "EMBEDDING_LOOKUP":
            return made
    return max(made, *given, 0)


def _count(shape: tuple[int, ...]) -> int:
    return prod(abs(size) for size in shape)


def _share(part: list[int], whole: list[int]) -> float:
    return sum(part) / sum(whole) if sum(whole) else 0.0


def _listed(ops: list[OpPrecision]) -> str:
    """The ones with most work first."""
    named = [op.title for op in sorted(ops, key=lambda op: (-op.work, op.title))[:_MOST_NAMED]]
    more = len(ops) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
