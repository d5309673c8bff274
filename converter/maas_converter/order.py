"""What somebody wants converted, read and checked as far as that can be done before seconds are spent on the model."""

from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import NAME
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, NoInputError, UsageError
from maas_converter import data, samples
from maas_converter.extras import require
from maas_converter.importers.table import importer_for
from maas_converter.quantize.recipes import Recipe, recipe


class Order(msgspec.Struct, frozen=True):
    """What to convert, and how: the arguments of ``convert``."""

    source: Path
    name: str
    version: str
    out: Path
    quantize: str = "int8"
    calibration: Path | None = None
    evaluation: Path | None = None
    labels: Path | None = None
    preprocess: Path | None = None
    keys: Path | None = None


class Given(msgspec.Struct, frozen=True):
    """Everything an order names, read. Whether it fits the model is not known yet."""

    recipe: Recipe
    calibration: data.Dataset | None
    evaluation: data.Dataset | None
    processing: samples.Processing
    labels: tuple[str, ...]

    @property
    def datasets(self) -> list[data.Dataset]:
        """The data sets there are, calibration first."""
        return [dataset for dataset in (self.calibration, self.evaluation) if dataset is not None]


def read(order: Order) -> Given:
    """Read what ``order`` names; raises `UsageError`, `NoInputError`, `DataError` or `UnavailableError`."""
    _check_words(order)
    _check_out(order.out)
    importer_for(order.source)
    require("convert", "tensorflow", "litert_quantizer")
    chosen = _recipe(order)
    calibration = data.load(order.calibration) if order.calibration else None
    evaluation = data.load(order.evaluation) if order.evaluation else None
    named = [dataset.classes for dataset in (evaluation, calibration) if dataset is not None and dataset.classes]
    return Given(
        recipe=chosen,
        calibration=calibration,
        evaluation=evaluation,
        processing=samples.read_processing(order.preprocess) if order.preprocess else samples.Processing(),
        labels=data.read_labels(order.labels) if order.labels else next(iter(named), ()),
    )


def _check_words(order: Order) -> None:
    if not NAME.match(order.name):
        raise UsageError(f"--name {order.name!r}: use lower-case letters, digits, '.', '_' and '-', at most 64")
    try:
        parse_version(order.version)
    except DataError as error:
        raise UsageError(f"--version: {error}") from None
    if order.keys is not None:
        from maas_converter.keys import load_signer

        load_signer(order.keys, "targets")


def _check_out(out: Path) -> None:
    if out.suffix != ".maas" or out.is_dir():
        raise UsageError(f"-o {out}: name a file that ends in .maas")
    if not out.parent.is_dir():
        raise NoInputError(f"-o {out}: there is no folder {out.parent}")


def _recipe(order: Order) -> Recipe:
    chosen = recipe(order.quantize)
    if chosen.calibrated and order.calibration is None:
        raise UsageError(
            f"--quantize {chosen.name} needs --calibration DATA, some hundred samples like those the device will see; "
            "or choose --quantize float32"
        )
    return chosen
