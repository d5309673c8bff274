"""Cuts a model into stages, at the level of the file: no op, weight or quantization changes.

A *cut* lies after an op, in the order in which ops run. What was made before it and is needed after it crosses it, and
so does the model's own input where that is needed after it. Stages need not pass on what they do not use: each
names edges that any stage before it made.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from maas_agent.errors import DataError
from maas_converter.tflite import model as files
from maas_converter.tflite.extract import extract
from maas_converter.tflite.flow import Flow, indexes, obstacle_to_pass, shape_of, wire_bytes
from maas_converter.tflite.names import names_in
from maas_converter.tflite.signature import fixed_batch, in_signature_order


class Crossing(msgspec.Struct, frozen=True):
    """One tensor that goes from before a cut to after it; ``edge`` is what stages call it."""

    edge: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


class Cut(msgspec.Struct, frozen=True):
    """A place between two ops; ``obstacle`` says why the model cannot be cut there, and is empty where it can."""

    position: int
    """Number of the op that it lies after, in the file's own order."""
    op: str
    name: str
    """The edge that this op makes first."""
    crossing: tuple[Crossing, ...]
    """What crosses; also outputs of the model that are made before, which someone has to be sent."""
    wire_bytes: int
    """Size of all that crosses, for one sample."""
    obstacle: str = ""

    @property
    def label(self) -> str:
        """How people call the cut."""
        return f"{self.position} {self.op} {self.name}"


class ModelPart(msgspec.Struct, frozen=True):
    """One stage: its file, and the edges it takes and makes, in the order of its own inputs and outputs."""

    tflite: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def cuts_of(data: bytes) -> tuple[Cut, ...]:
    """Every cut that can be made, in order; none in a model of one op. Raises `DataError` if ``data`` is no model."""
    return tuple(place for place in places_of(data) if not place.obstacle)


def places_of(data: bytes) -> tuple[Cut, ...]:
    """Every op but the last as the cut that would lie after it, with what stands in its way; raises `DataError`."""
    flow = _flow(data)
    edges = edges_of(flow)
    return tuple(_place(flow, edges, position) for position in flow.ops[:-1])


def cut(data: bytes, positions: Sequence[int]) -> tuple[ModelPart, ...]:
    """Cut after each of ``positions``: one part more than there are positions. The same call gives the same bytes.

    Raises `DataError` if ``data`` is no model, or cannot be cut at one of them.
    """
    flow = _flow(data)
    edges = edges_of(flow)
    for position in positions:
        if position not in flow.ops[:-1]:
            raise DataError(f"there is no cut after op {position}: the model's ops are {_range(flow)}")
        if obstacle := _obstacle(flow, position):
            raise DataError(f"the model cannot be cut after {_place(flow, edges, position).label}: {obstacle}")
    bounds = [-1, *sorted(set(positions)), flow.ops[-1]]
    return tuple(_part(flow, edges, low, high) for low, high in pairwise(bounds))


def input_edges(data: bytes) -> tuple[str, ...]:
    """What the stages call the model's inputs; raises `DataError`."""
    flow = _flow(data)
    edges = edges_of(flow)
    return tuple(edges[tensor] for tensor in flow.inputs)


def output_edges(data: bytes) -> tuple[str, ...]:
    """What the stages call the model's outputs, in the model's order, one that it has twice twice."""
    flow = _flow(data)
    edges = edges_of(flow)
    return tuple(edges[tensor] for tensor in indexes(flow.graph.outputs))


def edges_of(flow: Flow) -> dict[int, str]:
    """A name for each tensor that flows: the model's inputs and outputs are called as everywhere.

    Others have their own name without what TensorFlow puts around it, made unique.
    """
    names = names_in(flow.model)
    ends = dict(zip(indexes(flow.graph.outputs), names.outputs, strict=True))
    named = dict(zip(indexes(flow.graph.inputs), names.inputs, strict=True)) | ends
    taken = set(named.values())
    for tensor in sorted((flow.flowing | set(flow.outputs)) - set(named)):
        plain = _plain(files.text(flow.graph.tensors[tensor].name))
        name = plain if plain and plain not in taken else f"{plain or 'tensor'}_{tensor}"
        named[tensor] = name
        taken.add(name)
    return named


def _plain(name: str) -> str:
    """One name where TensorFlow joined those of all ops that it fused; without the wrapping of inputs and outputs."""
    return re.sub(r"^serving_default_|:\d+$", "", name.split(";")[0])


def _flow(data: bytes) -> Flow:
    flow = Flow(files.parse(in_signature_order(fixed_batch(data))))
    if not flow.ops:
        raise DataError("the model has no op that depends on its input")
    return flow


def _place(flow: Flow, edges: dict[int, str], position: int) -> Cut:
    crossing = tuple(
        Crossing(edges[tensor], shape_of(held), files.type_name(held), wire_bytes(held))
        for tensor in _crossing(flow, position)
        if not obstacle_to_pass(held := flow.graph.tensors[tensor])
    )
    first = flow.first_output(position)
    return Cut(
        position=position,
        op=flow.op_name(position),
        name=edges.get(first, ""),
        crossing=crossing,
        wire_bytes=sum(tensor.bytes for tensor in crossing),
        obstacle=_obstacle(flow, position),
    )


def _crossing(flow: Flow, position: int) -> list[int]:
    before, after = _sides(flow, position)
    made = flow.made_in(before)
    needed = flow.needed_by(after) & (made | set(flow.inputs))
    return sorted(needed | (made & set(flow.outputs)))


def _obstacle(flow: Flow, position: int) -> str:
    before, after = _sides(flow, position)
    made, needed = flow.made_in(before), flow.needed_by(after)
    if not (needed & (made | set(flow.inputs))):
        return "what comes after it needs nothing that comes before it"
    if not made & (needed | set(flow.outputs)):
        return "nothing that is made before it is needed"
    if not flow.needed_by(before) - made:
        return "what comes before it has no input"
    if flow.states_of(before) & flow.states_of(after):
        return "ops before and after it share state that outlives a run"
    obstacles = (obstacle_to_pass(flow.graph.tensors[tensor]) for tensor in _crossing(flow, position))
    return next((f"{obstacle}, which cannot go from stage to stage" for obstacle in obstacles if obstacle), "")


def _sides(flow: Flow, position: int) -> tuple[list[int], list[int]]:
    return [op for op in flow.ops if op <= position], [op for op in flow.ops if op > position]


def _part(flow: Flow, edges: dict[int, str], low: int, high: int) -> ModelPart:
    """The ops after ``low`` up to ``high``."""
    ops = [op for op in flow.ops if low < op <= high]
    later = [op for op in flow.ops if op > high]
    made = flow.made_in(ops)
    inputs = sorted(flow.needed_by(ops) - made, key=lambda tensor: _order(tensor, flow.inputs))
    wanted = made & (flow.needed_by(later) | set(flow.outputs))
    if not later:  # outputs that do not depend on the input come with the last part
        wanted |= set(flow.outputs) - flow.flowing
    outputs = sorted(wanted, key=lambda tensor: _order(tensor, flow.outputs))
    if not inputs or not outputs:
        raise DataError(f"the ops after {low} up to {high} take nothing or make nothing that is needed: cut elsewhere")
    part: Any = extract(flow.model, flow.resting_on(ops, outputs), inputs, outputs)
    return ModelPart(files.serialize(part), tuple(edges[t] for t in inputs), tuple(edges[t] for t in outputs))


def _order(tensor: int, model_order: tuple[int, ...]) -> tuple[int, int]:
    """The model's own inputs and outputs first and in its order, then tensors as they are numbered."""
    return (model_order.index(tensor) if tensor in model_order else len(model_order), tensor)


def _range(flow: Flow) -> str:
    return f"{flow.ops[0]} to {flow.ops[-2]}" if len(flow.ops) > 1 else "one only"
