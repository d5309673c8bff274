"""The ops of a model, what each one may be made of, and how it is named in a recipe."""

from collections import Counter

import msgspec

from maas_converter.quantize import entries as recipe
from maas_converter.quantize import quantizer
from maas_converter.quantize.entries import Entry
from maas_converter.quantize.search.candidates.precision_plan import Change, PrecisionPlan, Whole
from maas_converter.tflite.contents import Contents, OpFacts

_ALGORITHMS: dict[str, recipe.Algorithm] = {"min-max": recipe.MIN_MAX, "mse": recipe.MSE, "octav": "OCTAV"}
ALGORITHMS = tuple(_ALGORITHMS)
"""Ways of litert-quantizer to choose the scale of weights, by the name a plan has for them."""

_FEWEST_WEIGHTS = 512
"""Below that 4 bits save less than a file's alignment may cost."""

_BITS = {"int4": (8, 4), "int8": (8, 8), "int16": (16, 8)}
"""Bits of activations and of weights."""

_WHOLE: dict[Whole, tuple[Entry, ...]] = {
    "int8": (recipe.static(8, 8),),
    "int16x8": (recipe.static(16, 8),),
    "dynamic": (recipe.dynamic(8),),
    "float16": (recipe.halved(),),
    "float32": (),
}


class Layer(msgspec.Struct, frozen=True):
    """One op of the model's graph that litert-quantizer knows."""

    op: int
    """Its index in the graph."""
    label: str
    """Short, for people; each one once."""
    name: str
    """The library's name of the op."""
    regex: str
    """What finds this op and no other in a recipe."""
    weights: int
    """Elements of the constant it multiplies by; 0 where it has none, few, or shares it with another op."""


def layers_of(contents: Contents) -> tuple[Layer, ...]:
    """The ops of the first graph, in order of execution."""
    graph = contents.graphs[0]
    ops = [op for op in graph.ops if quantizer.knows(op) and op.outputs]
    labels = _labels([graph.tensors[op.outputs[0]].name for op in ops])
    used = Counter(index for op in graph.ops for index in set(op.inputs))
    return tuple(
        Layer(op.index, label, quantizer.name_of(op), recipe.only(contents, op), _weights(contents, op, used))
        for op, label in zip(ops, labels, strict=True)
    )


def recipe_of(plan: PrecisionPlan, layers: tuple[Layer, ...]) -> list[Entry]:
    """litert-quantizer's recipe for a plan; empty for the float model itself."""
    by_op = {layer.op: layer for layer in layers}
    return [*_WHOLE[plan.whole], *(_entry(by_op[change.op], change) for change in plan.changes)]


def supported(layer: Layer, change: Change) -> bool:
    """Whether the library's policy has this op in this precision; what it has may still fail on a model."""
    from litert_quantizer import recipe_manager

    try:
        recipe_manager.RecipeManager().load_quantization_recipe([_entry(layer, change)])
    except ValueError:
        return False
    return True


def precision_of(plan: PrecisionPlan, layers: tuple[Layer, ...]) -> dict[str, str]:
    """What differs from int8, by op."""
    if plan.whole != "int8":
        return {"*": plan.whole}
    labels = {layer.op: layer.label for layer in layers}
    return {
        labels[change.op]: f"int4 ({change.algorithm})" if change.precision == "int4" else change.precision
        for change in plan.changes
    }


def _entry(layer: Layer, change: Change) -> Entry:
    if change.precision == "float":
        return recipe.untouched(layer.name, layer.regex)
    # gptq leaves weights on a grid that the largest one tells: see search.rounding.
    algorithm = _ALGORITHMS.get(change.algorithm, recipe.MIN_MAX)
    return recipe.static(*_BITS[change.precision], layer.name, layer.regex, algorithm)


def _weights(contents: Contents, op: OpFacts, used: Counter[int]) -> int:
    if len(op.inputs) < 2 or op.inputs[1] < 0 or used[op.inputs[1]] != 1:
        return 0
    tensor = contents.graphs[op.subgraph].tensors[op.inputs[1]]
    elements = tensor.constant_bytes // 4 if tensor.dtype == "float32" else 0
    return elements if elements >= _FEWEST_WEIGHTS else 0


def _labels(names: list[str]) -> list[str]:
    """Converters join the names of layers they fuse by semicolons: the first says enough where it is the only one."""
    short = [name.split(";")[0] for name in names]
    counts = Counter(short)
    return [first if counts[first] == 1 else name for first, name in zip(short, names, strict=True)]
