"""What a bundle will consist of, before any model was read: one model, or the stages of a graph file."""

from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import When
from maas_converter.convert.graph_file import OutputPlan, read_graph
from maas_converter.quantize.recipes import Recipe, recipe

GRAPH_SUFFIX = ".toml"
"""A source that ends so is a graph file, see `maas_converter.convert.graph_file`."""

ONLY_STAGE = "model"


class StagePlan(msgspec.Struct, frozen=True):
    """One stage to be. Without ``inputs`` and ``outputs`` its edges are called as the model's own tensors."""

    name: str
    source: Path
    recipe: Recipe | None
    """How it was asked to be quantized; ``None`` leaves that to the model."""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    when: When | None = None


class BundlePlan(msgspec.Struct, frozen=True):
    """A whole bundle; without ``outputs`` they are the single stage's own."""

    stages: tuple[StagePlan, ...]
    outputs: tuple[OutputPlan, ...] = ()

    @property
    def single(self) -> bool:
        """Whether there is one model only, as from anything but a graph file."""
        return not self.outputs


def plan_of(source: Path, quantize: str | None) -> BundlePlan:
    """Plan what ``source`` names; raises `NoInputError`, `DataError` or `UsageError`."""
    asked = recipe(quantize) if quantize is not None else None
    if source.suffix.lower() != GRAPH_SUFFIX:
        return BundlePlan(stages=(StagePlan(ONLY_STAGE, source, asked),))
    graph = read_graph(source)
    stages = tuple(
        StagePlan(
            name=stage.name,
            source=stage.model,
            recipe=recipe(stage.quantize) if stage.quantize else asked,
            inputs=stage.inputs,
            outputs=stage.outputs,
            when=stage.when,
        )
        for stage in graph.stages
    )
    return BundlePlan(stages, graph.outputs)
