"""What stays float in a quantized model because integers would spoil it, told before it is quantized.

(1) *Indexes*: what becomes an integer or is compared for equality, as the ids that an embedding is looked up by. 256
    steps have no room for 500 ids, and a little less than 37 is 36. All is float up to the op that makes indexes of it.
(2) *Columns of different sizes*: a tensor has one scale. Boxes of 0 to 640 beside scores of 0 to 1 leave every score at
    0 or 2.5. Inputs and outputs are looked at by column, concatenations by part, on calibration data
    (`maas_converter.quantize.columns`); the ops that make or read such a tensor stay float.
(3) *Steps that a kernel prescribes*: in int8 LOG_SOFTMAX gives sixteenths down to -15.9, whatever its values are.
"""

import re
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.quantize import columns, entries, quantizer
from maas_converter.quantize.entries import Entry
from maas_converter.quantize.quantizer import Feed
from maas_converter.quantize.recipes import Recipe
from maas_converter.quantize.rewriting import stand_ins
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import Contents, GraphFacts, OpFacts, TensorFacts, contents_of

Array = NDArray[np.generic]

_MAKES_INDEXES = frozenset(
    ("CAST", "BUCKETIZE", "EQUAL", "NOT_EQUAL", "FLOOR", "CEIL", "ROUND", "FLOOR_DIV", "FLOOR_MOD")
)
"""Ops whose answer leaps where their float input changes by a hair; CAST only if it makes integers."""

_MOVES = frozenset((
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "PACK", "UNPACK",
    "GATHER", "GATHER_ND", "TILE", "BROADCAST_TO", "REVERSE_V2", "PAD", "PADV2", "MIRROR_PAD",
))  # fmt: skip
"""Ops whose output holds values of their input and no others (but padding)."""

_BY_ELEMENT = frozenset((
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "RELU", "RELU6", "RELU_N1_TO_1", "ABS", "NEG", "SQRT", "RSQRT",
    "EXP", "LOG", "SQUARE", "POW", "LEAKY_RELU", "SELECT", "SELECT_V2", "FLOOR", "CEIL", "ROUND", "FLOOR_MOD",
    "FLOOR_DIV", "SQUARED_DIFFERENCE", "CAST",
))  # fmt: skip

_PASSING = _MOVES | _BY_ELEMENT
_ALIKE = frozenset(("SOFTMAX", "LOGISTIC", "TANH", "LOG_SOFTMAX"))
"""Ops whose columns have one scale by definition: probabilities that are small are meant to be."""

_WEIGHTED = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Ops with weights, and along which axis these have scales of their own."""

_WEIGHTS = 8
"""Bits that inputs are looked at with: of a column that is 1000 times smaller the weights are as much larger, and these
have no more in any recipe."""

_STEPS = 4
"""Standard deviations of so many steps: rounding moves such values by a fourteenth of what they vary by."""

_LOOKED_AT = 128
"""Samples: as many tell how large a column is."""


class KeptFloat(msgspec.Struct, frozen=True):
    """What stays float, and why."""

    ops: tuple[int, ...] = ()
    """Numbers of ops of the first graph."""
    inputs: bool = False
    """Whether the model's inputs do, all of them: the library knows them as one."""
    outputs: bool = False
    reasons: tuple[str, ...] = ()
    """A sentence for each tensor that was the cause."""

    def entries(self, contents: Contents) -> list[Entry]:
        """What to put behind a recipe's own entries."""
        ops = [op for op in map(contents.graphs[0].ops.__getitem__, self.ops) if quantizer.knows(op)]
        ends = [(self.inputs, entries.INPUT), (self.outputs, entries.OUTPUT)]
        return [
            *(entries.untouched(quantizer.name_of(op), entries.only(contents, op)) for op in ops),
            *(entries.untouched(end) for wanted, end in ends if wanted),
        ]

    def labels(self, contents: Contents) -> frozenset[str]:
        """The names of the first outputs of its ops: they are the same in the quantized file."""
        return frozenset(contents.output_of(contents.graphs[0].ops[op]).name.split(";")[0] for op in self.ops)


NOTHING = KeptFloat()


def kept_in(float32: bytes, recipe: Recipe, feed: Feed) -> KeptFloat:
    """What ``recipe`` has to leave float in a model that is given ``feed``; raises what running it raises.

    A recipe of float activations has it easier: of it only inputs of dense layers have to be looked at.
    """
    if recipe.build is None or recipe.computes == "float":
        return NOTHING
    return kept_for(float32, feed, bits=16 if recipe.name == "int16x8" else 8, static=recipe.calibrated)


def kept_for(float32: bytes, feed: Feed, *, bits: int, static: bool) -> KeptFloat:
    """Tell what has to stay float by the bits of activations; ``static``: these have fixed ranges."""
    contents = contents_of(float32)
    if contents.has_control_flow:
        return _kept(contents, _indexes(contents))
    why = _indexes(contents)
    if feed.count:
        seen = _Seen(float32, contents, feed, bits, static=static)
        inside = (*_wide_inside(contents, seen), *_beyond_their_steps(contents, seen)) if static else ()
        for tensor, reason in (*_wide_inputs(contents, seen), *inside):
            why.setdefault(tensor, reason)
    return _kept(contents, why)


def _kept(contents: Contents, why: dict[int, str]) -> KeptFloat:
    graph = contents.graphs[0]
    touching = [op for op in graph.ops if not why.keys().isdisjoint((*op.inputs, *op.outputs))]
    return KeptFloat(
        ops=tuple(op.index for op in touching if op.outputs),
        inputs=not why.keys().isdisjoint(graph.inputs),
        outputs=not why.keys().isdisjoint(graph.outputs),
        reasons=tuple(reason for reason in dict.fromkeys(why.values()) if reason),
    )


def _indexes(contents: Contents) -> dict[int, str]:
    """Why a tensor has to stay exact, by tensor; the sentence stands at the first one only."""
    graph, found = contents.graphs[0], dict[int, str]()
    for op in graph.ops:
        if op.name not in _MAKES_INDEXES or (op.name == "CAST" and "int" not in graph.tensors[op.outputs[0]].dtype):
            continue
        for index in _flowing(graph, op):
            behind = [tensor for tensor in _behind(graph, index) if tensor not in found]
            starts = [graph.tensors[tensor] for tensor in behind if tensor in graph.inputs]
            what = _called("input", starts[0]) if starts else f"what {op.name} reads"
            found |= dict.fromkeys(behind, f"{what} stays float: {op.name} makes whole numbers of it, as of indexes")
    return found


def _behind(graph: GraphFacts, tensor: int) -> list[int]:
    """``tensor``, and everything that it is made of by moving and by element alone."""
    found, waiting = [], [tensor]
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.append(index)
        for op in graph.ops:
            if index in op.outputs and op.name in (*_PASSING, "CONCATENATION"):
                waiting += _flowing(graph, op)
    return found


def _flowing(graph: GraphFacts, op: OpFacts) -> list[int]:
    """The float inputs of an op that are no constants."""
    given = (graph.tensors[index] for index in op.inputs if index >= 0)
    return [tensor.index for tensor in given if tensor.dtype.startswith("float") and not tensor.constant_bytes]


class _Seen:
    """The values of the tensors that are looked at, on some of the samples."""

    def __init__(self, float32: bytes, contents: Contents, feed: Feed, bits: int, *, static: bool) -> None:
        numbers = np.unique(np.linspace(0, feed.count - 1, min(feed.count, _LOOKED_AT)).astype(np.int64))
        self._float32, self.bits, self.static = float32, bits, static
        self._inputs = [feed.at(int(number)) for number in numbers]
        self._values = quantizer.values_of(float32, self._inputs, sorted(_looked_at(contents, static=static)))

    def of(self, tensor: int) -> Array | None:
        """(N, …tensor), ``None`` of what was not looked at."""
        return self._values.get(tensor)

    def spoiled(self, tensor: TensorFacts, bits: int) -> columns.Spoiled | None:
        """The columns of a tensor that its one scale would spoil."""
        values = self.of(tensor.index)
        return columns.spoiled(values, bits, by_sample=not self.static) if values is not None else None

    def matters(self, number: int, readers: list[int], outputs: tuple[int, ...]) -> bool:
        """Whether the model's answers suffer if input ``number`` and the weights of the ops ``readers`` are rounded."""
        coarse = [list(given) for given in self._inputs]
        stored = columns.rounded(np.stack([given[number] for given in coarse]), _WEIGHTS, by_sample=not self.static)
        for given, values in zip(coarse, stored, strict=True):
            given[number] = values.astype(given[number].dtype)
        before = quantizer.values_of(self._float32, self._inputs, outputs)
        after = quantizer.values_of(_with_coarse_weights(self._float32, readers), coarse, outputs)
        return any(columns.differ(before[output], after[output]) for output in before)


def _with_coarse_weights(float32: bytes, ops: list[int]) -> bytes:
    """The model with the weights of some ops rounded as integers would be, one scale for each unit."""
    model = files.parse(float32)
    graph = model.subgraphs[0]
    for number in ops:
        op = graph.operators[number]
        tensor, axis = graph.tensors[op.inputs[1]], _WEIGHTED[files.op_name(model, op)]
        held = files.data_of(model, tensor)
        if held and files.type_name(tensor) == "float32":
            values = np.moveaxis(np.frombuffer(held, np.float32).reshape([int(size) for size in tensor.shape]), axis, 0)
            rows = np.moveaxis(columns.rounded(values, _WEIGHTS, by_sample=True), 0, axis).astype(np.float32)
            model.buffers[tensor.buffer].data = np.frombuffer(rows.tobytes(), np.uint8)
    return files.serialize(model)


def _looked_at(contents: Contents, *, static: bool) -> set[int]:
    graph = contents.graphs[0]
    ahead, back = list(graph.inputs), list(graph.outputs) if static else []
    for op in graph.ops:
        if op.name in _PASSING and any(index in ahead for index in op.inputs):
            ahead += op.outputs
    wanted = {*ahead, *(index for output in back for index in _behind(graph, output))}
    for op in graph.ops if static else ():
        wanted |= {*op.inputs, *op.outputs} if op.name in ("CONCATENATION", *stand_ins.PRESCRIBED) else set()
    return {index for index in wanted if index >= 0 and _has_values(graph.tensors[index])}


def _has_values(tensor: TensorFacts) -> bool:
    return tensor.dtype == "float32" and not tensor.constant_bytes and 0 not in tensor.shape


def _wide_inputs(contents: Contents, seen: _Seen) -> Iterator[tuple[int, str]]:
    """Inputs whose small columns would be lost and matter, and what is made of them by element that is no better."""
    graph = contents.graphs[0]
    for number, index in enumerate(graph.inputs):
        spoiled = seen.spoiled(graph.tensors[index], _WEIGHTS)
        if spoiled is None:
            continue
        found = [index]
        for op in graph.ops:
            if op.name in _PASSING and not set(found).isdisjoint(op.inputs):
                found += [made for made in op.outputs if seen.spoiled(graph.tensors[made], _WEIGHTS) is not None]
        readers = [op.index for op in graph.ops if op.name in _WEIGHTED and op.inputs[0] in found]
        if seen.matters(number, readers, graph.outputs):
            reason = f"{_called('input', graph.tensors[index])} stays float: {spoiled.sentence}"
            yield from ((tensor, reason) for tensor in found)


def _wide_inside(contents: Contents, seen: _Seen) -> Iterator[tuple[int, str]]:
    """Outputs, and what they are made of, and concatenations."""
    graph = contents.graphs[0]
    makers = {made: op for op in graph.ops for made in op.outputs}
    for output in graph.outputs:
        yield from _wide_output(graph, output, makers, seen)
    for op in graph.ops:
        if op.name == "CONCATENATION":
            yield from _wide_concatenation(graph, op, seen)


def _wide_output(graph: GraphFacts, output: int, makers: dict[int, OpFacts], seen: _Seen) -> Iterator[tuple[int, str]]:
    called, waiting = _called("output", graph.tensors[output]), [output]
    for index in waiting:  # grows meanwhile
        maker = makers.get(index)
        spoiled = seen.spoiled(graph.tensors[index], seen.bits)
        if maker is None or maker.name in _ALIKE or spoiled is None:
            continue
        yield index, f"{called} stays float: {spoiled.sentence}" if index == output else ""
        if maker.name in (*_PASSING, "CONCATENATION"):
            waiting += [before for before in _flowing(graph, maker) if before not in waiting]


def _wide_concatenation(graph: GraphFacts, op: OpFacts, seen: _Seen) -> Iterator[tuple[int, str]]:
    """Its parts are its columns. What only moves them on has their scale as well."""
    parts = [values.ravel() for index in _flowing(graph, op) if (values := seen.of(index)) is not None]
    spoiled = columns.spoiled_parts(parts, seen.bits)
    if spoiled is None:
        return
    found = [op.outputs[0]]
    yield found[0], f"CONCATENATION {graph.tensors[found[0]].name.split(';')[0]} stays float: {spoiled.sentence}"
    for other in graph.ops:
        if other.name in _MOVES and not set(found).isdisjoint(other.inputs):
            found += other.outputs
    yield from ((made, "") for made in found[1:])


def _beyond_their_steps(contents: Contents, seen: _Seen) -> Iterator[tuple[int, str]]:
    """What ops give that have steps prescribed, where these are too short or too coarse for it."""
    graph = contents.graphs[0]
    for op in graph.ops:
        values = seen.of(op.outputs[0]) if op.name in stand_ins.PRESCRIBED else None
        if values is None or seen.bits not in stand_ins.STAND_INS[op.name].bits:
            continue
        low, high = stand_ins.PRESCRIBED[op.name]
        step = (high - low) / 255
        if values.min() < low - step / 2 or values.std() < _STEPS * step:
            spans = f"its kernel gives {low:.4g} … {high:.4g} in steps of {step:.4g}"
            lies = f"the values lie in {values.min():.4g} … {values.max():.4g}"
            yield op.outputs[0], f"what {op.name} gives stays float: {spans}, {lies}"


def _called(what: str, tensor: TensorFacts) -> str:
    """A name without what TensorFlow puts around it; empty for one that says nothing."""
    plain = re.sub(r"^(serving_default|serve)_|:\d+$", "", tensor.name.split(";")[0])
    return f"the {what}" if plain.startswith("StatefulPartitionedCall") else f"{what} {plain!r}"
