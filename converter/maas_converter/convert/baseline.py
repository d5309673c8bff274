"""What a conversion starts from: the imported models as one graph, run on the data that everything is judged on."""

from collections.abc import Callable, Iterable
from math import prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, Manifest, Output, Postprocess, Tensor
from maas_agent.errors import DataError
from maas_agent.runtime.graph import Graph
from maas_converter.base.console import Progress
from maas_converter.bench import golden, measure, postprocess, samples
from maas_converter.bench.blobs import Blobs
from maas_converter.bench.pixels import ReadyMadeModel
from maas_converter.bench.postprocess import KnownOutput, Told
from maas_converter.convert import packing
from maas_converter.convert.context import ConversionContext, Given
from maas_converter.convert.importing import ImportedStage
from maas_converter.data.dataset import Dataset, samples_of
from maas_converter.evidence.meant import form_of, names_anomalies
from maas_converter.evidence.scoring import Truth, read_as, truth_of
from maas_converter.evidence.task import Task, task_of, why_none
from maas_converter.quantize.recipes import AS_IS
from maas_converter.tflite.heads import OutputHead, heads_of

_EVIDENCE = 256
"""How many calibration samples stand in where there is no evaluation data."""

Values = dict[str, NDArray[np.float32]]
"""By edge: real values (N, …tensor); a row of NaN where the edge was not made."""


class Evidence(msgspec.Struct, frozen=True):
    """The samples (N, …sample) models are judged by, where they come from, and what is true of them."""

    samples: NDArray[np.generic]
    origin: str
    truth: Truth | None
    not_judged: str
    """Why there is no ``truth``."""

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class numbers (N,), if the task is to tell them."""
        truth = self.truth
        return truth.y.astype(np.int64) if truth is not None and truth.task == "classification" else None


class Baseline(msgspec.Struct, frozen=True):
    """The models as they came, and what they answer."""

    stages: tuple[packing.DraftStage, ...]
    draft: Manifest
    evidence: Evidence
    answers: measure.Answers
    """On the evidence."""
    calibration: NDArray[np.generic] | None
    """Samples (M, …sample) that ranges are measured on."""
    known: tuple[KnownOutput, ...]
    """Of each output, what is known of it before it is run."""
    told: tuple[Told, ...]
    """Of each output, what it is, and why."""
    edges: Values
    """Real values on ``calibration`` of everything that goes into or comes out of a stage; empty without it."""

    notes: tuple[str, ...] = ()
    """What was decided about the samples without being asked."""

    @property
    def only_kind(self) -> Postprocess | None:
        """What the output is, if there is one only."""
        return self.told[0][0] if len(self.told) == 1 else None

    @property
    def spec(self) -> Input:
        """The bundle's input, with the tensor of the models as they came."""
        return self.draft.inputs[0]


def baseline_of(context: ConversionContext, imported: tuple[ImportedStage, ...]) -> Baseline:
    """Load, describe and run the models; raises `DataError` if data or labels do not fit them."""
    given, blobs, progress = context.given, context.blobs, context.progress
    stages = tuple(packing.load_stage(one.model.tflite, blobs, one.plan) for one in imported)
    entrance = _entrance(stages)
    chosen = samples.chosen_input(entrance, given.processing, given.datasets, _ready(entrance, imported, stages))
    spec = chosen.spec
    draft = packing.draft(context.request, stages, given.plan.outputs, spec)
    graph = measure.load_graph(draft, blobs)
    heads = _heads(draft, imported, stages)
    known, evidence = _evidence(given, draft, heads, lambda: _noise(graph, progress))
    answers = measure.answers(graph, evidence.samples, progress, "running the model as it came")
    calibration = samples_of(given.calibration, spec.decode) if given.calibration is not None else None
    edges = _values_of(draft, _tensors(stages), blobs, calibration, progress) if calibration is not None else {}
    told, evidence = _told(known, answers, evidence)
    return Baseline(stages, draft, evidence, answers, calibration, known, told, edges, chosen.notes)


def given_to(values: Values, names: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """The edges ``names``, on those samples (M ≤ N) on which all of them were made."""
    taken = [values[name] for name in names]
    made = np.logical_and.reduce([np.isfinite(value.reshape(len(value), -1)).all(axis=1) for value in taken])
    return [value[made] for value in taken]


def _values_of(
    draft: Manifest, edges: Iterable[Tensor], blobs: Blobs, samples: NDArray[np.generic], progress: Progress
) -> Values:
    """Run ``draft`` on ``samples`` (N, …sample) and keep the real values of ``edges``, whichever stages make them.

    Each stage is calibrated with what it will be given.
    """
    outputs = tuple(Output(tensor=tensor) for tensor in edges)
    graph = measure.load_graph(msgspec.structs.replace(draft, outputs=outputs), blobs)
    return measure.answers(graph, samples, progress, "running the float model")


def _ready(
    entrance: Tensor, imported: tuple[ImportedStage, ...], stages: tuple[packing.DraftStage, ...]
) -> ReadyMadeModel:
    """What is known of the model that takes the bundle's input."""
    first = next(one for one, loaded in zip(imported, stages, strict=True) if entrance.name in loaded.stage.inputs)
    return ReadyMadeModel(first.recipe is AS_IS, first.model.metadata)


def _heads(
    draft: Manifest, imported: tuple[ImportedStage, ...], stages: tuple[packing.DraftStage, ...]
) -> list[OutputHead]:
    """What makes each of the draft's outputs, through stages that only hand on what another made."""
    heads: dict[str, OutputHead] = {}
    for one, loaded in zip(imported, stages, strict=True):
        for edge, head in zip(loaded.stage.outputs, heads_of(one.model.tflite), strict=True):
            from_before = heads.get(loaded.stage.inputs[head.index]) if head.kind == "input" else None
            heads[edge] = from_before or head
    return [heads.get(output.tensor.name, OutputHead("unknown")) for output in draft.outputs]


def _told(
    known: tuple[KnownOutput, ...], answers: measure.Answers, evidence: Evidence
) -> tuple[tuple[Told, ...], Evidence]:
    """What each output is; of one value, the truth learns above which it means the second class."""
    has_classes, truth = evidence.classes is not None, evidence.truth
    told = tuple(
        postprocess.tell(one, _given(values), has_classes=has_classes, several=_names_several(truth, one.classes))
        for one, values in zip(known, answers.values(), strict=True)
    )
    if evidence.truth is None or len(told) != 1:
        return told, evidence
    return told, msgspec.structs.replace(evidence, truth=read_as(evidence.truth, told[0][0]))


def _names_several(truth: Truth | None, classes: int) -> bool:
    return truth is not None and truth.task == "regression" and form_of(truth.y, classes) == "several"


def _given(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows that were answered; all, as zeros, if none was: its shape is still known."""
    answered = measure.answered(values)
    return values[answered] if answered.any() else np.zeros_like(values)


def _entrance(stages: tuple[packing.DraftStage, ...]) -> Tensor:
    """The edge that no stage makes; the plan has one, see `maas_converter.convert.graph_file`."""
    made = {name for loaded in stages for name in loaded.stage.outputs}
    found = {tensor.name: tensor for loaded in reversed(stages) for tensor in loaded.inputs if tensor.name not in made}
    if len(found) != 1:
        raise DataError(f"the stages take {len(found)} inputs from outside ({', '.join(found)}), a bundle has one")
    return next(iter(found.values()))


def _tensors(stages: tuple[packing.DraftStage, ...]) -> list[Tensor]:
    """Every edge once, as the stage that makes it says, else the one that takes it."""
    taken = {tensor.name: tensor for loaded in reversed(stages) for tensor in loaded.inputs}
    made = {tensor.name: tensor for loaded in stages for tensor in loaded.outputs}
    return list((taken | made).values())


def _noise(graph: Graph, progress: Progress) -> NDArray[np.generic]:
    """Random samples that the model takes."""
    what, decode = "looking for samples that the model takes", graph.manifest.inputs[0].decode
    return golden.fitting(
        lambda below: golden.random_samples(decode, below),
        lambda drawn: measure.answers(graph, drawn, progress, what),
    )


def _evidence(
    given: Given, draft: Manifest, heads: list[OutputHead], noise: Callable[[], NDArray[np.generic]]
) -> tuple[tuple[KnownOutput, ...], Evidence]:
    """Evaluation data, else some calibration data, else noise; raises `DataError` if it does not fit the model.

    With it what is known of each output: names that come from the data are labels where the task is to tell classes.
    """
    several = len(draft.outputs) > 1
    known = tuple(
        KnownOutput(
            output.tensor,
            head,
            _names(given, labels, head, prod(output.tensor.shape)),
            "auto" if several and not labels else given.activation,
        )
        for output, head, labels in zip(draft.outputs, heads, given.labels_of(draft), strict=True)
    )
    spec, dataset = draft.inputs[0], given.evaluation or given.calibration
    if dataset is None:
        why = "there is no evaluation data"
        return _checked(known), Evidence(noise(), "seeded random samples, for want of data", None, why)
    chosen = samples_of(dataset, spec.decode)
    if given.evaluation is None:
        why = "give --evaluation DATA with classes or targets 'y'"
        return _checked(_named_by(given, known, None)), Evidence(chosen[:_EVIDENCE], dataset.path.name, None, why)
    return _judged(given, draft, known, dataset, chosen)


def _names(given: Given, labels: tuple[str, ...], head: OutputHead, size: int) -> tuple[str, ...]:
    """Labels of an output. Names of normal samples and others in the data are none of a score that no sigmoid makes."""
    only_a_score = not given.labels_asked and head.kind != "sigmoid" and given.activation == "auto"
    return () if only_a_score and names_anomalies(labels) and size == 1 else labels


def _judged(
    given: Given, draft: Manifest, known: tuple[KnownOutput, ...], dataset: Dataset, chosen: NDArray[np.generic]
) -> tuple[tuple[KnownOutput, ...], Evidence]:
    spec, tensors = draft.inputs[0], tuple(output.tensor for output in draft.outputs)
    binary = known[0].binary and given.task in (None, "classification")
    task = task_of(dataset.y, tensors, prod(spec.tensor.shape), given.task, str(dataset.path), binary=binary)
    known = _checked(_named_by(given, known, task))
    if task is None:
        return known, Evidence(chosen, dataset.path.name, None, why_none(dataset.y, tensors))
    truth = truth_of(task, dataset, tensors[0], known[0].labels, spec, chosen, binary=binary)
    return known, Evidence(chosen, dataset.path.name, truth, "")


def _named_by(given: Given, known: tuple[KnownOutput, ...], task: Task | None) -> tuple[KnownOutput, ...]:
    """``known`` without labels that only the data named, where these are no classes of the model's."""
    if given.labels_asked or (task or given.task) not in ("regression", "anomaly"):
        return known
    return tuple(msgspec.structs.replace(one, labels=()) for one in known)


def _checked(known: tuple[KnownOutput, ...]) -> tuple[KnownOutput, ...]:
    for one in known:
        postprocess.check_labels(one)
    return known
