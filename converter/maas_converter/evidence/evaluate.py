"""A finished bundle on a data set: what ``maas-converter evaluate`` measures."""

import tempfile
from math import prod
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Manifest, Output
from maas_agent.errors import DataError, UsageError
from maas_converter.base.console import Progress
from maas_converter.bench import measure
from maas_converter.bench.blobs import unpack
from maas_converter.bench.postprocess import threshold_of
from maas_converter.data.dataset import Dataset, samples_of
from maas_converter.data.formats import load
from maas_converter.evidence.meant import meant
from maas_converter.evidence.scoring import Score, Truth, doubts_of, multilabel_notes, read_as, score_of, truth_of
from maas_converter.evidence.task import Task, check_asked, task_of, why_none


class BundleEvaluation(msgspec.Struct, frozen=True):
    """The ``--json`` document: which bundle did how well on which data, on which machine."""

    name: str
    version: str
    digest: str
    data: str
    data_sha256: str
    output: str
    score: Score
    """Its ``task`` says which one it is."""
    unanswered: int
    """Samples for which the bundle left the output out (its stage was skipped); they are not in the score."""
    time: measure.Timing
    host: str
    notes: tuple[str, ...] = ()
    """How the data were understood, and what speaks against it."""


def evaluate_bundle(
    path: Path, data_path: Path, progress: Progress, task: str | None = None, output: str | None = None
) -> BundleEvaluation:
    """Run the bundle at ``path`` on every sample.

    ``task`` and ``output`` are what the user asked for, see `maas_converter.evidence.task`. Raises `UsageError`,
    `NoInputError`, `DataError` or `RuntimeFailure`.
    """
    check_asked(task)
    with tempfile.TemporaryDirectory(prefix="maas-evaluate-") as folder, open_bundle(path) as bundle:
        manifest = bundle.manifest
        chosen = _output(manifest, output)
        dataset = meant(load(data_path, chosen.labels), prod(chosen.tensor.shape), task)
        samples = samples_of(dataset, manifest.inputs[0].decode)
        truth = _truth(manifest, chosen, dataset, samples, task)
        graph = measure.load_graph(manifest, unpack(bundle, Path(folder)))
        values = measure.answers(graph, samples, progress, f"evaluating {manifest.name}")[chosen.tensor.name]
        score = score_of(truth, values)
        if score is None:
            raise DataError(f"{path} leaves its output {chosen.tensor.name!r} out on these data: nothing to judge")
        labels_right = multilabel_notes(values, truth.y, chosen.postprocess)
        return BundleEvaluation(
            name=manifest.name,
            version=manifest.version,
            digest=bundle.digest,
            data=data_path.name,
            data_sha256=dataset.sha256,
            output=chosen.tensor.name,
            score=score,
            unanswered=len(samples) - score.samples,
            time=measure.times_of([graph], samples)[0],
            host=measure.this_host(),
            notes=(*dataset.notes, *truth.notes, *doubts_of(truth, values, score), *labels_right),
        )


def _output(manifest: Manifest, asked: str | None) -> Output:
    names = [output.tensor.name for output in manifest.outputs]
    if asked is None and len(names) == 1:
        return manifest.outputs[0]
    for output in manifest.outputs:
        if output.tensor.name == asked:
            return output
    if asked is None:
        raise UsageError(f"the bundle has {len(names)} outputs: choose one with --output, of {', '.join(names)}")
    raise UsageError(f"--output {asked}: the bundle has {', '.join(names)}")


def _truth(
    manifest: Manifest, output: Output, dataset: Dataset, samples: NDArray[np.generic], asked: str | None
) -> Truth:
    """What ``output`` should answer to ``samples`` (N, …sample), by the task that was asked for or is told."""
    task, spec = _task(manifest, output, dataset, asked), manifest.inputs[0]
    binary = task == "classification" and threshold_of(output.postprocess) is not None
    truth = truth_of(task, dataset, output.tensor, output.labels, spec, samples, binary=binary)
    return read_as(truth, output.postprocess)


def _task(manifest: Manifest, chosen: Output, dataset: Dataset, asked: str | None) -> Task:
    outputs = (chosen.tensor,)
    binary = threshold_of(chosen.postprocess) is not None and asked in (None, "classification")
    found = task_of(dataset.y, outputs, prod(manifest.inputs[0].tensor.shape), asked, str(dataset.path), binary=binary)
    if found is None:
        raise DataError(f"{dataset.path}: {why_none(dataset.y, outputs)}")
    return found
