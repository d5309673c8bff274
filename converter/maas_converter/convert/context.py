"""What a conversion works with: what its request names, read, and where the work is done."""

from math import prod
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import Manifest
from maas_converter.base.console import Progress
from maas_converter.bench import samples
from maas_converter.bench.blobs import Blobs
from maas_converter.bench.postprocess import Activation, check_activation
from maas_converter.convert.bundle_plan import BundlePlan
from maas_converter.convert.request import ConversionRequest, planned
from maas_converter.data.dataset import Dataset
from maas_converter.data.formats import load
from maas_converter.data.labels import read_labels
from maas_converter.evidence.meant import meant
from maas_converter.evidence.task import Task, check_asked


class Given(msgspec.Struct, frozen=True):
    """Everything a request names, read. Whether it fits the model is not known yet."""

    plan: BundlePlan
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


class ConversionContext(msgspec.Struct, frozen=True):
    """What every step of a conversion is given."""

    request: ConversionRequest
    given: Given
    folder: Path
    """Scratch; removed with everything in it when the conversion ends."""
    blobs: Blobs
    """In that folder."""
    progress: Progress


def read(request: ConversionRequest) -> Given:
    """Read what ``request`` names; raises `UsageError`, `NoInputError`, `DataError` or `UnavailableError`."""
    plan = planned(request)
    activation = check_activation(request.activation)
    labels = read_labels(request.labels) if request.labels else ()
    evaluation = load(request.evaluation, labels) if request.evaluation else None
    # Calibration data may lack a class: its names are numbered as those of the evaluation data.
    known = labels or (evaluation.classes if evaluation is not None and evaluation.by_name else ())
    calibration = load(request.calibration, known) if request.calibration else None
    named = [dataset.classes for dataset in (evaluation, calibration) if dataset is not None and dataset.classes]
    return Given(
        plan=plan,
        io=request.io,
        task=check_asked(request.task),
        calibration=calibration,
        evaluation=evaluation,
        processing=samples.read_processing(request.preprocess) if request.preprocess else None,
        labels=labels or next(iter(named), ()),
        labels_asked=bool(labels),
        activation=activation,
    )


def named_by_model(given: Given, request: ConversionRequest, labels: tuple[str, ...]) -> Given:
    """``given`` with the ``labels`` that the model itself has: what the data call by names is numbered by them.

    Raises `DataError` if the data have classes that are none of the labels.
    """
    evaluation = load(request.evaluation, labels) if request.evaluation else None
    calibration = load(request.calibration, labels) if request.calibration else None
    return msgspec.structs.replace(
        given, labels=labels, labels_asked=True, evaluation=evaluation, calibration=calibration
    )
