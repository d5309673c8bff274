"""What a conversion starts from: the imported models as one graph, run on the data that everything is judged on."""

from math import prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input, Manifest, Tensor
from maas_agent.errors import DataError
from maas_converter import golden, measure, pack, postprocess, samples
from maas_converter.bring import Brought
from maas_converter.data.dataset import Dataset, samples_of
from maas_converter.edges import Values, values_of
from maas_converter.evidence.scoring import Truth, truth_of
from maas_converter.evidence.task import task_of, why_none
from maas_converter.job import Job
from maas_converter.order import Given

_EVIDENCE = 256
"""How many calibration samples stand in where there is no evaluation data."""


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

    stages: tuple[pack.Loaded, ...]
    draft: Manifest
    evidence: Evidence
    answers: measure.Answers
    """On the evidence."""
    calibration: NDArray[np.generic] | None
    """Samples (M, …sample) that ranges are measured on."""
    edges: Values
    """Real values on ``calibration`` of everything that goes into or comes out of a stage; empty without it."""

    @property
    def spec(self) -> Input:
        """The bundle's input, with the tensor of the models as they came."""
        return self.draft.inputs[0]


def baseline_of(job: Job, brought: tuple[Brought, ...]) -> Baseline:
    """Load, describe and run the models; raises `DataError` if data or labels do not fit them."""
    given, blobs, progress = job.given, job.blobs, job.progress
    stages = tuple(pack.load_stage(one.imported.tflite, blobs, one.plan) for one in brought)
    spec = samples.input_of(_entrance(stages), given.processing, given.datasets)
    draft = pack.draft(job.order, stages, given.plan.outputs, spec)
    for output, labels in zip(draft.outputs, given.labels_of(draft), strict=True):
        postprocess.check_labels(output.tensor, labels)
    evidence = _evidence(given, draft)
    graph = measure.load_graph(draft, blobs)
    answers = measure.answers(graph, evidence.samples, progress, "running the model as it came")
    calibration = samples_of(given.calibration, spec.decode) if given.calibration is not None else None
    edges = values_of(draft, _tensors(stages), blobs, calibration, progress) if calibration is not None else {}
    return Baseline(stages, draft, evidence, answers, calibration, edges)


def _entrance(stages: tuple[pack.Loaded, ...]) -> Tensor:
    """The edge that no stage makes; the plan has one, see `maas_converter.graph_file`."""
    made = {name for loaded in stages for name in loaded.stage.outputs}
    found = {tensor.name: tensor for loaded in reversed(stages) for tensor in loaded.inputs if tensor.name not in made}
    if len(found) != 1:
        raise DataError(f"the stages take {len(found)} inputs from outside ({', '.join(found)}), a bundle has one")
    return next(iter(found.values()))


def _tensors(stages: tuple[pack.Loaded, ...]) -> list[Tensor]:
    """Every edge once, as the stage that makes it says, else the one that takes it."""
    taken = {tensor.name: tensor for loaded in reversed(stages) for tensor in loaded.inputs}
    made = {tensor.name: tensor for loaded in stages for tensor in loaded.outputs}
    return list((taken | made).values())


def _evidence(given: Given, draft: Manifest) -> Evidence:
    """Evaluation data, else some calibration data, else noise; raises `DataError` if it does not fit the model."""
    spec, dataset = draft.inputs[0], given.evaluation or given.calibration
    if dataset is None:
        noise = golden.random_samples(spec.decode)
        return Evidence(noise, "seeded random samples, for want of data", None, "there is no evaluation data")
    chosen = samples_of(dataset, spec.decode)
    if given.evaluation is None:
        return Evidence(
            chosen[:_EVIDENCE], dataset.path.name, None, "give --evaluation DATA with classes or targets 'y'"
        )
    return _judged(given, draft, dataset, chosen)


def _judged(given: Given, draft: Manifest, dataset: Dataset, chosen: NDArray[np.generic]) -> Evidence:
    spec, tensors = draft.inputs[0], tuple(output.tensor for output in draft.outputs)
    task = task_of(dataset.y, tensors, prod(spec.tensor.shape), given.task, str(dataset.path))
    if task is None:
        return Evidence(chosen, dataset.path.name, None, why_none(dataset.y, tensors))
    truth = truth_of(task, dataset, tensors[0], given.labels_of(draft)[0], spec, chosen)
    return Evidence(chosen, dataset.path.name, truth, "")
