"""The calibration data before the guard (`maas_converter.quantize.guard.rules`): what it is shown of a conversion."""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input
from maas_agent.processing.preprocess import preprocessor
from maas_converter.bench.measure import answered
from maas_converter.bench.postprocess import scores_of, threshold_of
from maas_converter.convert.baseline import Baseline, Values
from maas_converter.convert.context import ConversionContext
from maas_converter.convert.importing import ImportedStage
from maas_converter.data.dataset import Dataset, classes_of
from maas_converter.quantize.guard import rules
from maas_converter.quantize.guard.finding import CheckedData
from maas_converter.quantize.guard.input_statistics import statistics_of
from maas_converter.quantize.guard.scaling import scaling_of


class CalibrationVerdict(msgspec.Struct, frozen=True):
    """What there is to say of the calibration data, although it is used."""

    forced: tuple[str, ...] = ()
    """What ``--force`` passed over."""
    notes: tuple[str, ...] = ()


def check_calibration(
    context: ConversionContext, imported: tuple[ImportedStage, ...], baseline: Baseline
) -> CalibrationVerdict:
    """Show the guard what something is calibrated with; raises `DataError` with all it found, unless ``--force``."""
    given, calibration = context.given, baseline.calibration
    if given.calibration is None or calibration is None or not any(one.recipe.calibrated for one in imported):
        return CalibrationVerdict()
    classes = _classes(given.calibration, baseline)
    scores = {name: values for name, values in baseline.edges.items() if name == _single_output(baseline)}
    scores, answers = (_scores(values, baseline) for values in (scores, baseline.answers))
    shown = _side("calibration", given.calibration, calibration, scores, classes, baseline.spec)
    other = None
    if given.evaluation is not None:
        other = _side("evaluation", given.evaluation, baseline.evidence.samples, answers, classes, baseline.spec)
    scaling = scaling_of(imported[0].model.tflite) if given.plan.single else None
    found = rules.findings(shown, other, classes, scaling)
    notes = tuple(finding.sentence for finding in found if not finding.refuses)
    return CalibrationVerdict(rules.enforce(found, context.request.force), notes)


def _classes(dataset: Dataset, baseline: Baseline) -> int:
    """How many classes the model tells apart, 0 if its task is another one or nothing says that it is this one."""
    truth = baseline.evidence.truth
    if len(baseline.draft.outputs) != 1 or (truth is not None and truth.task != "classification"):
        return 0
    size = baseline.known[0].classes
    known = truth is not None or (dataset.y is not None and dataset.y.ndim == 1 and dataset.y.dtype.kind in "iu")
    return size if known and size > 1 else 0


def _scores(answers: Values, baseline: Baseline) -> Values:
    """``answers`` with a column for each of two classes that one value tells apart."""
    threshold = threshold_of(baseline.only_kind)
    if threshold is None:
        return answers
    return {name: scores_of(values, threshold) for name, values in answers.items()}


def _single_output(baseline: Baseline) -> str:
    return baseline.draft.outputs[0].tensor.name if len(baseline.draft.outputs) == 1 else ""


def _side(
    name: str, dataset: Dataset, samples: NDArray[np.generic], answers: Values, classes: int, spec: Input
) -> CheckedData:
    statistics = statistics_of(name, _tensors(spec, samples))
    if not classes or not answers:
        return CheckedData(statistics)
    values = next(iter(answers.values()))
    rows = answered(values)
    y = classes_of(dataset, classes)
    return CheckedData(statistics, y[rows] if y is not None else None, values[rows].reshape(int(rows.sum()), -1))


def _tensors(spec: Input, samples: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    prepare = preprocessor(spec)
    return (prepare(sample) for sample in samples)
