"""Validates a split: the chain of its parts answers to the bit what the whole model answers, on the same samples."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode, Input, Tensor
from maas_agent.errors import DataError, RuntimeFailure
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Array, Model
from maas_agent.runtime.selection import accelerator
from maas_converter.base.console import Progress
from maas_converter.bench import golden, samples
from maas_converter.data.dataset import samples_of
from maas_converter.data.formats import load
from maas_converter.tflite.cut import ModelPart, input_edges, output_edges
from maas_converter.tflite.signature import in_signature_order

_NO_PROCESSING = samples.Processing()


class ComparedSamples(msgspec.Struct, frozen=True):
    """On how many samples the stages answered exactly what the whole model answers, and where those come from."""

    samples: int
    origin: str


def validate(
    data: bytes, parts: Sequence[ModelPart], evaluation: Path | None, preprocess: Path | None, progress: Progress
) -> ComparedSamples:
    """Run both on the evaluation data, or without on seeded random samples.

    Raises `RuntimeFailure` on the first answer that differs in any bit, `NoInputError` or `DataError` if data do not
    fit the model.
    """
    with tempfile.TemporaryDirectory(prefix="maas-split-") as folder:
        whole = _loaded(Path(folder) / "whole", in_signature_order(data))
        stages = [_loaded(Path(folder) / str(number), part.tflite) for number, part in enumerate(parts)]
        rows, origin = _rows(whole, evaluation, preprocess, progress)
        given, answered = input_edges(data), output_edges(data)
        count = 0
        for count, tensors in enumerate(rows, 1):
            edges = dict(zip(given, tensors, strict=True))
            for part, stage in zip(parts, stages, strict=True):
                edges.update(zip(part.outputs, stage.run([edges[edge] for edge in part.inputs]), strict=True))
            for edge, values in zip(answered, whole.run(tensors), strict=True):
                _check_equal(count, edge, values, edges[edge])
        return ComparedSamples(count, origin)


def _loaded(path: Path, data: bytes) -> Model:
    path.write_bytes(data)
    return accelerator("cpu").load(path, 1)


def _rows(
    whole: Model, evaluation: Path | None, preprocess: Path | None, progress: Progress
) -> tuple[Iterator[list[Array]], str]:
    """The model's input tensors for each sample."""
    what = "comparing the stages with the whole"
    inputs = whole.inputs
    if evaluation is None and preprocess is None:
        decodes = [Decode(tensor.shape, tensor.dtype) for tensor in inputs]
        noise = golden.fitting(
            lambda below: [golden.random_samples(decode, below) for decode in decodes],
            lambda drawn: [whole.run(list(tensors)) for tensors in zip(*drawn, strict=True)],
        )
        numbers = np.arange(golden.GOLDEN_SAMPLES)
        rows = ([values[number] for values in noise] for number in progress.track(what, numbers))
        return rows, "seeded random samples, for want of data"
    if len(inputs) != 1:
        raise DataError(f"the model has {len(inputs)} inputs, data hold one: leave out --evaluation and --preprocess")
    drawn, spec, origin = _samples(inputs[0], evaluation, preprocess)
    prepared = preprocessor(spec)
    return ([prepared(sample)] for sample in progress.track(what, drawn)), origin


def _samples(
    tensor: Tensor, evaluation: Path | None, preprocess: Path | None
) -> tuple[NDArray[np.generic], Input, str]:
    processing = samples.read_processing(preprocess) if preprocess is not None else _NO_PROCESSING
    if evaluation is None:
        spec = samples.input_of(tensor, processing, [])
        return golden.random_samples(spec.decode), spec, "seeded random samples, for want of data"
    dataset = load(evaluation)
    spec = samples.input_of(tensor, processing, [dataset])
    return samples_of(dataset, spec.decode), spec, evaluation.name


def _check_equal(sample: int, edge: str, whole: Array, stages: Array) -> None:
    if whole.shape == stages.shape and whole.tobytes() == stages.tobytes():
        return
    raise RuntimeFailure(
        f"the stages do not answer what the whole model answers: output {edge!r} differs on sample {sample} by "
        f"{_distance(whole, stages)}; nothing was written. Cut after other ops: --list shows them"
    )


def _distance(whole: Array, stages: Array) -> str:
    if whole.shape != stages.shape:
        return f"its shape {list(stages.shape)}, which should be {list(whole.shape)}"
    return f"up to {np.max(np.abs(whole.astype(np.float64) - stages.astype(np.float64))):.4g}"
