"""Imports the models of a plan, each as TFLite with the recipe that it will be quantized by."""

from functools import partial

import msgspec
import numpy as np

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError
from maas_agent.processing.preprocess import preprocessor
from maas_converter.bench import golden
from maas_converter.bench.samples import Processing, input_of
from maas_converter.convert.bundle_plan import StagePlan
from maas_converter.convert.context import ConversionContext
from maas_converter.convert.request import ConversionRequest, check_recipe
from maas_converter.data.dataset import samples_of, some_of
from maas_converter.importers.agreement import MOST, Drawn
from maas_converter.importers.process import ImportedModel, import_model
from maas_converter.importers.task import Importing
from maas_converter.quantize.recipes import AS_IS, DEFAULT, Recipe
from maas_converter.tflite.contents import contents_of


class ImportedStage(msgspec.Struct, frozen=True):
    """One model of the plan, and how it will be quantized: `AS_IS` if it came quantized."""

    plan: StagePlan
    model: ImportedModel
    recipe: Recipe


def import_stages(context: ConversionContext) -> tuple[ImportedStage, ...]:
    """Import every model that the plan names; raises what `import_model` raises."""
    return tuple(_imported_stage(context, stage) for stage in context.given.plan.stages)


def _imported_stage(context: ConversionContext, stage: StagePlan) -> ImportedStage:
    request = context.request
    context.progress.step(f"importing {stage.source.name}")
    options = Importing(
        trust=request.trust,
        custom=_custom(request),
        input_shape=request.input_shape,
        signature=request.signature,
        several_inputs=bool(stage.inputs),
    )
    draw = partial(_drawn, context, stage)
    imported = import_model(stage.source, context.folder, options, draw)
    chosen = _recipe(request, stage, imported)
    if chosen.calibrated and contents_of(imported.tflite).has_control_flow:
        # Ranges inside a loop cannot be measured; unrolled, a recurrent layer is a chain like any other.
        context.progress.step(f"importing {stage.source.name} again, its loops unrolled")
        imported = import_model(stage.source, context.folder, msgspec.structs.replace(options, unroll=True), draw)
    return ImportedStage(stage, imported, chosen)


def _drawn(context: ConversionContext, stage: StagePlan, tensors: tuple[Tensor, ...]) -> Drawn | None:
    """Some evaluation or calibration data, as the model is given them; ``None`` where they are not its own input."""
    given = context.given
    dataset = given.evaluation or given.calibration
    if len(tensors) != 1 or not given.plan.single or (dataset is None and given.processing == Processing()):
        return None
    spec = input_of(tensors[0], given.processing, given.datasets)
    prepare = preprocessor(spec)
    if dataset is None:
        rows, origin = golden.random_samples(spec.decode), f"seeded random ones for {stage.source.name}"
    else:
        rows, origin = samples_of(some_of(dataset, MOST), spec.decode), dataset.path.name
    prepared = [prepare(row) for row in rows]
    return Drawn((np.stack(prepared),), origin, given=dataset is not None)


def _recipe(request: ConversionRequest, stage: StagePlan, imported: ImportedModel) -> Recipe:
    weights_only = imported.quantized and contents_of(imported.tflite).hybrid
    if not imported.quantized or (weights_only and stage.recipe is not None):
        chosen = stage.recipe or DEFAULT
        check_recipe(chosen, request)
        return chosen
    if request.io is not None:
        raise DataError(
            f"{stage.source} is quantized already, its inputs and outputs are what they are: leave out --io"
        )
    if stage.recipe is not None:
        raise DataError(
            f"{stage.source} is quantized already and is packed as it is: leave out --quantize {stage.recipe.name}, "
            "or start from the float model"
        )
    return AS_IS


def _custom(request: ConversionRequest) -> str | None:
    return str(request.custom.resolve()) if request.custom is not None else None
