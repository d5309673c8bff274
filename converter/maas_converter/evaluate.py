"""A finished bundle on a data set: what ``maas-converter evaluate`` measures."""

import tempfile
from math import prod
from pathlib import Path

import msgspec

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Classification, Manifest
from maas_agent.errors import DataError
from maas_converter import data, measure
from maas_converter.blobs import unpack
from maas_converter.console import Progress


class Evaluation(msgspec.Struct, frozen=True):
    """The ``--json`` document: which bundle did how well on which data, on which machine."""

    name: str
    version: str
    digest: str
    data: str
    data_sha256: str
    score: measure.Score
    time: measure.Timing
    host: str


def evaluate_bundle(path: Path, data_path: Path, progress: Progress) -> Evaluation:
    """Run the bundle at ``path`` on every sample; raises `NoInputError`, `DataError` or `RuntimeFailure`."""
    dataset = data.load(data_path)
    with tempfile.TemporaryDirectory(prefix="maas-evaluate-") as folder, open_bundle(path) as bundle:
        manifest = bundle.manifest
        count = _class_count(manifest, path)
        y = data.classes_of(dataset, count)
        if y is None:
            raise DataError(f"{data_path} holds no classes 'y' (N,) to compare with")
        samples = data.samples_of(dataset, manifest.inputs[0].decode)
        graph = measure.load_graph(manifest, unpack(bundle, Path(folder)))
        answers = measure.answers(graph, samples, progress, f"evaluating {manifest.name}")
        found = measure.top_classes(next(iter(answers.values())))
        return Evaluation(
            name=manifest.name,
            version=manifest.version,
            digest=bundle.digest,
            data=data_path.name,
            data_sha256=dataset.sha256,
            score=measure.score(found, y, _labels(manifest, dataset, count)),
            time=measure.times_of([graph], samples)[0],
            host=measure.this_host(),
        )


def _class_count(manifest: Manifest, path: Path) -> int:
    output = manifest.outputs[0]
    if len(manifest.outputs) != 1 or not isinstance(output.postprocess, Classification):
        raise DataError(f"{path} is no classifier with one output: it has no accuracy")
    return prod(output.tensor.shape)


def _labels(manifest: Manifest, dataset: data.Dataset, count: int) -> tuple[str, ...]:
    """The bundle's own labels, else the data set's if they fit, else numbers."""
    if manifest.outputs[0].labels:
        return manifest.outputs[0].labels
    return dataset.classes if len(dataset.classes) == count else tuple(str(number) for number in range(count))
