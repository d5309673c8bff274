"""What somebody wants converted, and every check of it that needs neither the data nor the model."""

from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import NAME
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, NoInputError, UsageError
from maas_converter.base import outlet
from maas_converter.base.extras import require
from maas_converter.convert.bundle_plan import BundlePlan, plan_of
from maas_converter.importers.table import importer_for
from maas_converter.quantize.io import chosen_io
from maas_converter.quantize.recipes import AUTO, DEFAULT, Recipe
from maas_converter.quantize.search.candidates.outcome import SearchLimits
from maas_converter.report.page import check_folder


class ConversionRequest(msgspec.Struct, frozen=True):
    """What to convert, and how: the arguments of ``convert``."""

    source: Path
    name: str
    version: str
    out: Path
    quantize: str | None = None
    io: str | None = None
    limits: SearchLimits | None = None
    """Of a search."""
    max_drop: float | None = None
    """Points that may be lost, by whichever recipe."""
    calibration: Path | None = None
    evaluation: Path | None = None
    task: str | None = None
    activation: str | None = None
    labels: Path | None = None
    preprocess: Path | None = None
    input_shape: tuple[int, ...] | None = None
    signature: str | None = None
    trust: bool = False
    custom: Path | None = None
    force: bool = False
    allow_float: bool = False
    report: Path | None = None
    keys: Path | None = None


def planned(request: ConversionRequest) -> BundlePlan:
    """Check all that ``request`` says, and plan the bundle; raises `UsageError`, `NoInputError` or `DataError`.

    Raises `UnavailableError` if something that it takes is not installed.
    """
    _check_words(request)
    _check_custom(request)
    _check_out(request.out)
    if request.report is not None:
        check_folder(request.report)
    plan = plan_of(request.source, request.quantize)
    for stage in plan.stages:
        importer = importer_for(stage.source)
        require(f"convert {stage.source.name}", *importer.needs)
        chosen = stage.recipe or (DEFAULT if importer.rungs else None)
        if chosen is not None:
            check_recipe(chosen, request)
    _check_io(request, plan)
    _check_limits(request, plan)
    return plan


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """``96,96,3`` as sizes; raises `UsageError`."""
    if text is None:
        return None
    sizes = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(size.isdecimal() and 0 < int(size) < 1 << 24 for size in sizes):
        raise UsageError(f"--input-shape {text}: give the sizes without the batch, as in 96,96,3")
    return tuple(int(size) for size in sizes)


def limits_of(max_drop: float | None, max_size: int | None, max_latency: float | None) -> SearchLimits | None:
    """The limits that were given; ``None`` if none was. Raises `UsageError` for one that nothing can meet."""
    given = {"max_drop": max_drop, "max_size": max_size, "max_latency": max_latency}
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        return None
    limits = msgspec.convert(named, SearchLimits)
    limits.check()
    return limits


def _check_words(request: ConversionRequest) -> None:
    if not NAME.match(request.name):
        raise UsageError(f"--name {request.name!r}: use lower-case letters, digits, '.', '_' and '-', at most 64")
    try:
        parse_version(request.version)
    except DataError as error:
        raise UsageError(f"--version: {error}") from None
    if request.keys is not None and outlet.asked("signer", b"") is None:
        from maas_converter.publishing.keys.key_files import load_signer

        load_signer(request.keys, "targets")


def _check_custom(request: ConversionRequest) -> None:
    if request.custom is None:
        return
    if not request.trust:
        raise UsageError(
            f"--custom {request.custom} is run, with all that you may do: add --trust if you know who wrote it"
        )
    if not request.custom.is_file():
        raise NoInputError(f"--custom {request.custom}: there is no such file")


def _check_out(out: Path) -> None:
    if out.suffix != ".maas" or out.is_dir():
        raise UsageError(f"-o {out}: name a file that ends in .maas")
    if not out.parent.is_dir():
        raise NoInputError(f"-o {out}: there is no folder {out.parent}")


def check_recipe(recipe: Recipe, request: ConversionRequest) -> None:
    """Raise `UsageError` or `UnavailableError` if what ``recipe`` needs is not given or not installed."""
    if recipe.quantized or recipe.build is not None:
        require(f"convert --quantize {recipe.name}", "litert_quantizer")
    if recipe.calibrated and request.calibration is None:
        raise UsageError(
            f"--quantize {recipe.name} needs --calibration DATA, some hundred samples like those the device will see; "
            "or choose --quantize dynamic or float32"
        )
    if recipe.name == AUTO and request.evaluation is None:
        raise UsageError("--quantize auto needs --evaluation DATA: it looks for what costs least on these samples")


def _check_io(request: ConversionRequest, plan: BundlePlan) -> None:
    for stage in plan.stages:
        chosen_io(stage.recipe or DEFAULT, request.io)


def _check_limits(request: ConversionRequest, plan: BundlePlan) -> None:
    auto = [stage for stage in plan.stages if stage.recipe is not None and stage.recipe.name == AUTO]
    limits = request.limits
    if limits is not None and not auto and (limits.max_size is not None or limits.max_latency is not None):
        raise UsageError("--max-size and --max-latency are limits of a search: add --quantize auto")
    if request.max_drop is not None and request.evaluation is None:
        raise UsageError(f"--max-drop {request.max_drop:g} needs --evaluation DATA: nothing else shows what is lost")
    if auto and not plan.single:
        raise UsageError(f"stage {auto[0].name!r}: auto searches one whole model; choose a recipe for each stage")
