"""The models of a plan, imported: each as TFLite with the recipe that turns it into what ships."""

import msgspec

from maas_agent.errors import DataError
from maas_converter.importers.process import Imported, import_model
from maas_converter.importers.task import Importing
from maas_converter.job import Job
from maas_converter.order import Order, check_recipe
from maas_converter.plan import StagePlan
from maas_converter.quantize.recipes import AS_IS, DEFAULT, Recipe
from maas_converter.tflite.contents import contents_of


class Brought(msgspec.Struct, frozen=True):
    """One model of the plan, and how it will be quantized: `AS_IS` if it came quantized."""

    plan: StagePlan
    imported: Imported
    recipe: Recipe


def bring(job: Job) -> tuple[Brought, ...]:
    """Import every model that the plan names; raises what `import_model` raises."""
    return tuple(_brought(job, stage) for stage in job.given.plan.stages)


def _brought(job: Job, stage: StagePlan) -> Brought:
    order = job.order
    job.progress.step(f"importing {stage.source.name}")
    options = Importing(
        trust=order.trust,
        custom=_custom(order),
        input_shape=order.input_shape,
        signature=order.signature,
        several_inputs=bool(stage.inputs),
    )
    imported = import_model(stage.source, job.folder, options)
    chosen = _recipe(order, stage, imported)
    if chosen.calibrated and contents_of(imported.tflite).has_control_flow:
        # Ranges inside a loop cannot be measured; unrolled, a recurrent layer is a chain like any other.
        job.progress.step(f"importing {stage.source.name} again, its loops unrolled")
        imported = import_model(stage.source, job.folder, msgspec.structs.replace(options, unroll=True))
    return Brought(stage, imported, chosen)


def _recipe(order: Order, stage: StagePlan, imported: Imported) -> Recipe:
    weights_only = imported.quantized and contents_of(imported.tflite).hybrid
    if not imported.quantized or (weights_only and stage.recipe is not None):
        chosen = stage.recipe or DEFAULT
        check_recipe(chosen, order)
        return chosen
    if order.io is not None:
        raise DataError(
            f"{stage.source} is quantized already, its inputs and outputs are what they are: leave out --io"
        )
    if stage.recipe is not None:
        raise DataError(
            f"{stage.source} is quantized already and is packed as it is: leave out --quantize {stage.recipe.name}, "
            "or start from the float model"
        )
    return AS_IS


def _custom(order: Order) -> str | None:
    return str(order.custom.resolve()) if order.custom is not None else None
