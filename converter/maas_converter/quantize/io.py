"""What a bundle's inputs and outputs are stored as: ``--io float|int8|uint8``.

Inside, a model computes the same whichever it is: a QUANTIZE or DEQUANTIZE op at either end converts. Answers are
those of int8 to the step; what changes is what a program that feeds the file itself has to do.
"""

from maas_agent.errors import UsageError
from maas_converter.quantize import entries
from maas_converter.quantize.entries import Entry
from maas_converter.quantize.recipes import RECIPES, Io, Recipe
from maas_converter.tflite import model as files


def chosen_io(recipe: Recipe, asked: str | None) -> Io:
    """What ``--io`` means for ``recipe``; raises `UsageError` if the recipe has no such inputs and outputs."""
    if asked is None:
        return recipe.io[0]
    for choice in recipe.io:
        if choice == asked:
            return choice
    able = [name for name, other in RECIPES.items() if asked in other.io]
    if not able:
        raise UsageError(f"--io {asked}: choose one of {', '.join(RECIPES['int8'].io)}")
    raise UsageError(
        f"--io {asked}: inputs and outputs of {recipe.name} are {' or '.join(recipe.io)}; "
        f"{' and '.join(able)} have {asked} ones"
    )


def io_entries(recipe: Recipe, io: Io) -> list[Entry]:
    """What to add to a recipe's own entries."""
    if not recipe.calibrated or io == "int8":
        return []
    ends = (entries.INPUT, entries.OUTPUT)
    return [entries.unsigned(end) if io == "uint8" else entries.untouched(end) for end in ends]


def named_as(float32: bytes, quantized: bytes) -> bytes:
    """``quantized`` with the outputs called as the float model's: a converting op at the end renames them."""
    before, after = files.parse(float32), files.parse(quantized)
    graph = after.subgraphs[0]
    names = [before.subgraphs[0].tensors[index].name for index in before.subgraphs[0].outputs]
    if [graph.tensors[index].name for index in graph.outputs] == names:
        return quantized
    for index, name in zip(graph.outputs, names, strict=True):
        # Two tensors of one name would be no longer told apart.
        for tensor in graph.tensors:
            if tensor.name == name:
                tensor.name = graph.tensors[index].name
        graph.tensors[index].name = name
    return files.serialize(after)
