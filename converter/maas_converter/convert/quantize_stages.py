"""The models as they will ship: each stage quantized by its recipe, and looked at afterwards."""

import msgspec
import numpy as np

from maas_agent.errors import UsageError
from maas_agent.processing.preprocess import preprocessor
from maas_converter.convert.baseline import Baseline
from maas_converter.convert.context import Job
from maas_converter.convert.edge_values import given_to
from maas_converter.convert.importing import Brought
from maas_converter.convert.packing import Loaded
from maas_converter.quantize import fallback
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.feed import Feed
from maas_converter.quantize.kept_float import Kept, kept_in
from maas_converter.quantize.plain import Plain, plain
from maas_converter.quantize.recipes import AS_IS, AUTO
from maas_converter.quantize.search.candidates.outcome import Found, Limits
from maas_converter.quantize.search.measuring.journal import default_folder
from maas_converter.quantize.search.search import search
from maas_converter.tflite.contents import contents_of


class Shipped(msgspec.Struct, frozen=True):
    """What ships, one ``.tflite`` a stage, and what is to be said of it."""

    tflites: tuple[bytes, ...]
    allowed_float: tuple[str, ...] = ()
    """Ops that stayed float although the recipe computes with integers."""
    found: Found | None = None
    """The outcome of a search, if there was one."""
    kept: tuple[str, ...] = ()
    """What was left float on purpose, a sentence each."""


def ship(job: Job, brought: tuple[Brought, ...], baseline: Baseline) -> Shipped:
    """Quantize; raises `DataError` if ops that the recipe promises to quantize stay float, or nothing fits a budget."""
    if brought[0].recipe.name == AUTO:
        found = _searched(job, brought[0], baseline)
        return Shipped(tflites=(found.tflite,), found=found)
    tflites: list[bytes] = []
    stayed: list[str] = []
    reasons: list[str] = []
    for one, loaded in zip(brought, baseline.stages, strict=True):
        feed = _feed(loaded, baseline) if baseline.edges else _evidence_feed(job, baseline)
        model = plain(one.imported.tflite) if one.recipe.build is not None else Plain(one.imported.tflite)
        kept = kept_in(model.tflite, one.recipe, feed)
        tflites.append(_quantized(job, one, feed, kept))
        reasons += (*_trained(one, model), *kept.reasons)
        if one.recipe is not AS_IS:
            precision = fallback.precision_of(tflites[-1])
            labels = kept.labels(contents_of(model.tflite))
            stayed += fallback.check(precision, one.recipe, allow_float=job.order.allow_float, kept=labels)
    return Shipped(tuple(tflites), tuple(stayed), kept=tuple(reasons))


def _trained(one: Brought, model: Plain) -> list[str]:
    name = one.plan.source.name
    return [f"{name} was trained to be quantized: the ranges it was trained with are used"] if model.trained else []


def _quantized(job: Job, one: Brought, feed: Feed, kept: Kept) -> bytes:
    if one.recipe is AS_IS:
        return one.imported.tflite
    if one.recipe.build is not None:
        job.progress.step(f"quantizing {one.plan.source.name} to {one.recipe.name}")
    return quantize_fed(one.imported.tflite, one.recipe, feed, job.given.io, job.progress, kept)


def _evidence_feed(job: Job, baseline: Baseline) -> Feed:
    """Without calibration data: evaluation data, which a recipe without ranges may be looked at with."""
    if not job.given.plan.single or job.given.evaluation is None:
        return Feed(0, lambda _: [])
    prepare, rows = preprocessor(baseline.spec), baseline.evidence.samples
    return Feed(len(rows), lambda number: [prepare(rows[number])])


def _feed(loaded: Loaded, baseline: Baseline) -> Feed:
    """What this stage is given on the calibration samples, in the types of its own inputs."""
    values = given_to(baseline.edges, loaded.stage.inputs)
    columns = [
        value.reshape(len(value), *tensor.shape).astype(tensor.dtype, copy=False)
        for value, tensor in zip(values, loaded.inputs, strict=True)
    ]
    return Feed(len(columns[0]), lambda number: [np.ascontiguousarray(column[number]) for column in columns])


def _searched(job: Job, one: Brought, baseline: Baseline) -> Found:
    evidence, calibration = baseline.evidence, baseline.calibration
    if calibration is None:
        raise UsageError("--quantize auto needs --calibration DATA")  # which `order.check_recipe` saw to
    return search(
        one.imported.tflite,
        baseline.spec,
        calibration,
        evidence.samples,
        evidence.classes,
        msgspec.structs.replace(job.order.limits or Limits(), integer_io=job.order.io is not None),
        folder=job.folder,
        journal=default_folder(),
        progress=job.progress,
        told=baseline.only_kind,
    )
