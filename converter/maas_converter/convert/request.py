"""What somebody wants converted, read and checked as far as that can be done before seconds are spent on the model."""

from math import prod
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import NAME, Manifest
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, NoInputError, UsageError
from maas_converter.base.extras import require
from maas_converter.bench import samples
from maas_converter.bench.postprocess import Activation, check_activation
from maas_converter.convert.bundle_plan import Plan, plan_of
from maas_converter.data.dataset import Dataset
from maas_converter.data.formats import load
from maas_converter.data.labels import read_labels
from maas_converter.evidence.meant import meant
from maas_converter.evidence.task import Task, check_asked
from maas_converter.importers.table import importer_for
from maas_converter.quantize.io import chosen_io
from maas_converter.quantize.recipes import AUTO, DEFAULT, Recipe
from maas_converter.quantize.search.candidates.outcome import Limits
from maas_converter.report.page import check_folder


class Order(msgspec.Struct, frozen=True):
    """What to convert, and how: the arguments of ``convert``."""

    source: Path
    name: str
    version: str
    out: Path
    quantize: str | None = None
    io: str | None = None
    limits: Limits | None = None
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


class Given(msgspec.Struct, frozen=True):
    """Everything an order names, read. Whether it fits the model is not known yet."""

    plan: Plan
    io: str | None
    task: Task | None
    calibration: Dataset | None
    evaluation: Dataset | None
    processing: samples.Processing | None
    """``None`` without a preprocess file."""
    labels: tuple[str, ...]
    labels_asked: bool = False
    """Whether ``--labels`` named them, and not the data."""
    activation: Activation = "auto"

    def labels_of(self, draft: Manifest) -> tuple[tuple[str, ...], ...]:
        """The labels of each of the draft's outputs: its own, or the labels if it is the only one.

        Of several outputs of one model those that have a class for each label have them; if none has, all.
        """
        if self.plan.single:
            fit = [len(self.labels) == prod(output.tensor.shape) for output in draft.outputs]
            return tuple(self.labels if fits or not any(fit) else () for fits in fit)
        single = self.labels if len(self.plan.outputs) == 1 else ()
        return tuple(read_labels(plan.labels) if plan.labels else single for plan in self.plan.outputs)

    def meant_for(self, size: int) -> "Given":
        """What was given, with class numbers where ``y`` writes them otherwise, for an output of ``size`` values."""
        evaluation, calibration = (
            meant(dataset, size, self.task) if dataset is not None else None
            for dataset in (self.evaluation, self.calibration)
        )
        return msgspec.structs.replace(self, evaluation=evaluation, calibration=calibration)

    @property
    def datasets(self) -> list[Dataset]:
        """The data sets there are, calibration first."""
        return [dataset for dataset in (self.calibration, self.evaluation) if dataset is not None]


def read(order: Order) -> Given:
    """Read what ``order`` names; raises `UsageError`, `NoInputError`, `DataError` or `UnavailableError`."""
    _check_words(order)
    _check_custom(order)
    _check_out(order.out)
    if order.report is not None:
        check_folder(order.report)
    plan = plan_of(order.source, order.quantize)
    for stage in plan.stages:
        importer = importer_for(stage.source)
        require(f"convert {stage.source.name}", *importer.needs)
        chosen = stage.recipe or (DEFAULT if importer.rungs else None)
        if chosen is not None:
            check_recipe(chosen, order)
    _check_io(order, plan)
    _check_limits(order, plan)
    activation = check_activation(order.activation)
    labels = read_labels(order.labels) if order.labels else ()
    evaluation = load(order.evaluation, labels) if order.evaluation else None
    # Calibration data may lack a class: its names are numbered as those of the evaluation data.
    known = labels or (evaluation.classes if evaluation is not None and evaluation.by_name else ())
    calibration = load(order.calibration, known) if order.calibration else None
    named = [dataset.classes for dataset in (evaluation, calibration) if dataset is not None and dataset.classes]
    return Given(
        plan=plan,
        io=order.io,
        task=check_asked(order.task),
        calibration=calibration,
        evaluation=evaluation,
        processing=samples.read_processing(order.preprocess) if order.preprocess else None,
        labels=labels or next(iter(named), ()),
        labels_asked=bool(labels),
        activation=activation,
    )


def named_by_model(given: Given, order: Order, labels: tuple[str, ...]) -> Given:
    """``given`` with the ``labels`` that the model itself has: what the data call by names is numbered by them.

    Raises `DataError` if the data have classes that are none of the labels.
    """
    evaluation = load(order.evaluation, labels) if order.evaluation else None
    calibration = load(order.calibration, labels) if order.calibration else None
    return msgspec.structs.replace(
        given, labels=labels, labels_asked=True, evaluation=evaluation, calibration=calibration
    )


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """``96,96,3`` as sizes; raises `UsageError`."""
    if text is None:
        return None
    sizes = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(size.isdecimal() and 0 < int(size) < 1 << 24 for size in sizes):
        raise UsageError(f"--input-shape {text}: give the sizes without the batch, as in 96,96,3")
    return tuple(int(size) for size in sizes)


def limits_of(max_drop: float | None, max_size: int | None, max_latency: float | None) -> Limits | None:
    """The limits that were given; ``None`` if none was. Raises `UsageError` for one that nothing can meet."""
    given = {"max_drop": max_drop, "max_size": max_size, "max_latency": max_latency}
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        return None
    limits = msgspec.convert(named, Limits)
    limits.check()
    return limits


def _check_words(order: Order) -> None:
    if not NAME.match(order.name):
        raise UsageError(f"--name {order.name!r}: use lower-case letters, digits, '.', '_' and '-', at most 64")
    try:
        parse_version(order.version)
    except DataError as error:
        raise UsageError(f"--version: {error}") from None
    if order.keys is not None:
        from maas_converter.publishing.keys.key_files import load_signer

        load_signer(order.keys, "targets")


def _check_custom(order: Order) -> None:
    if order.custom is None:
        return
    if not order.trust:
        raise UsageError(
            f"--custom {order.custom} is run, with all that you may do: add --trust if you know who wrote it"
        )
    if not order.custom.is_file():
        raise NoInputError(f"--custom {order.custom}: there is no such file")


def _check_out(out: Path) -> None:
    if out.suffix != ".maas" or out.is_dir():
        raise UsageError(f"-o {out}: name a file that ends in .maas")
    if not out.parent.is_dir():
        raise NoInputError(f"-o {out}: there is no folder {out.parent}")


def check_recipe(recipe: Recipe, order: Order) -> None:
    """Raise `UsageError` or `UnavailableError` if what ``recipe`` needs is not given or not installed."""
    if recipe.quantized or recipe.build is not None:
        require(f"convert --quantize {recipe.name}", "litert_quantizer")
    if recipe.calibrated and order.calibration is None:
        raise UsageError(
            f"--quantize {recipe.name} needs --calibration DATA, some hundred samples like those the device will see; "
            "or choose --quantize dynamic or float32"
        )
    if recipe.name == AUTO and order.evaluation is None:
        raise UsageError("--quantize auto needs --evaluation DATA: it looks for what costs least on these samples")


def _check_io(order: Order, plan: Plan) -> None:
    for stage in plan.stages:
        chosen_io(stage.recipe or DEFAULT, order.io)


def _check_limits(order: Order, plan: Plan) -> None:
    auto = [stage for stage in plan.stages if stage.recipe is not None and stage.recipe.name == AUTO]
    limits = order.limits
    if limits is not None and not auto and (limits.max_size is not None or limits.max_latency is not None):
        raise UsageError("--max-size and --max-latency are limits of a search: add --quantize auto")
    if order.max_drop is not None and order.evaluation is None:
        raise UsageError(f"--max-drop {order.max_drop:g} needs --evaluation DATA: nothing else shows what is lost")
    if auto and not plan.single:
        raise UsageError(f"stage {auto[0].name!r}: auto searches one whole model; choose a recipe for each stage")
