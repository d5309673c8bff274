"""Quantizes each stage by its recipe, and looks at what came of it."""

import msgspec
import numpy as np

from maas_agent.errors import UsageError
from maas_agent.processing.preprocess import preprocessor
from maas_converter.base.outlet import journals_folder
from maas_converter.convert.baseline import Baseline, given_to
from maas_converter.convert.context import ConversionContext
from maas_converter.convert.importing import ImportedStage
from maas_converter.convert.packing import DraftStage
from maas_converter.quantize import fallback
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.kept_float import KeptFloat, kept_in
from maas_converter.quantize.plain import PlainModel, plain
from maas_converter.quantize.quantizer import Feed
from maas_converter.quantize.recipes import AS_IS, AUTO
from maas_converter.quantize.search.candidates.outcome import SearchLimits, SearchOutcome
from maas_converter.quantize.search.search import search
from maas_converter.tflite.contents import contents_of


class QuantizedStages(msgspec.Struct, frozen=True):
    """The stages as the bundle has them, one ``.tflite`` each, and what is to be said of them."""

    tflites: tuple[bytes, ...]
    allowed_float: tuple[str, ...] = ()
    """Ops that stayed float although the recipe computes with integers."""
    found: SearchOutcome | None = None
    """The outcome of a search, if there was one."""
    kept: tuple[str, ...] = ()
    """What was left float on purpose, a sentence each."""


def quantize_stages(
    context: ConversionContext, imported: tuple[ImportedStage, ...], baseline: Baseline
) -> QuantizedStages:
    """Quantize; raises `DataError` if ops that the recipe promises to quantize stay float, or nothing fits a budget."""
    if imported[0].recipe.name == AUTO:
        found = _searched(context, imported[0], baseline)
        return QuantizedStages(tflites=(found.tflite,), found=found)
    tflites: list[bytes] = []
    stayed: list[str] = []
    reasons: list[str] = []
    for one, loaded in zip(imported, baseline.stages, strict=True):
        feed = _feed(loaded, baseline) if baseline.edges else _evidence_feed(context, baseline)
        model = plain(one.model.tflite) if one.recipe.build is not None else PlainModel(one.model.tflite)
        kept = kept_in(model.tflite, one.recipe, feed)
        tflites.append(_quantized(context, one, feed, kept))
        reasons += (*_trained(one, model), *kept.reasons)
        if one.recipe is not AS_IS:
            precision = fallback.precision_of(tflites[-1])
            labels = kept.labels(contents_of(model.tflite))
            stayed += fallback.check(precision, one.recipe, allow_float=context.request.allow_float, kept=labels)
    return QuantizedStages(tuple(tflites), tuple(stayed), kept=tuple(reasons))


def _trained(one: ImportedStage, model: PlainModel) -> list[str]:
    name = one.plan.source.name
    return [f"{name} was trained to be quantized: the ranges it was trained with are used"] if model.trained else []


def _quantized(context: ConversionContext, one: ImportedStage, feed: Feed, kept: KeptFloat) -> bytes:
    if one.recipe is AS_IS:
        return one.model.tflite
    if one.recipe.build is not None:
        context.progress.step(f"quantizing {one.plan.source.name} to {one.recipe.name}")
    return quantize_fed(one.model.tflite, one.recipe, feed, context.given.io, context.progress, kept)


def _evidence_feed(context: ConversionContext, baseline: Baseline) -> Feed:
    """Feed evaluation data where there is no calibration data, to a recipe that measures no ranges."""
    if not context.given.plan.single or context.given.evaluation is None:
        return Feed(0, lambda _: [])
    prepare, rows = preprocessor(baseline.spec), baseline.evidence.samples
    return Feed(len(rows), lambda number: [prepare(rows[number])])


def _feed(loaded: DraftStage, baseline: Baseline) -> Feed:
    """What this stage is given on the calibration samples, in the types of its own inputs."""
    values = given_to(baseline.edges, loaded.stage.inputs)
    columns = [
        value.reshape(len(value), *tensor.shape).astype(tensor.dtype, copy=False)
        for value, tensor in zip(values, loaded.inputs, strict=True)
    ]
    return Feed(len(columns[0]), lambda number: [np.ascontiguousarray(column[number]) for column in columns])


def _searched(context: ConversionContext, one: ImportedStage, baseline: Baseline) -> SearchOutcome:
    evidence, calibration = baseline.evidence, baseline.calibration
    if calibration is None:
        raise UsageError("--quantize auto needs --calibration DATA")  # which `request.check_recipe` saw to
    return search(
        one.model.tflite,
        baseline.spec,
        calibration,
        evidence.samples,
        evidence.classes,
        msgspec.structs.replace(context.request.limits or SearchLimits(), integer_io=context.request.io is not None),
        folder=context.folder,
        journal=journals_folder(),
        progress=context.progress,
        told=baseline.only_kind,
    )
