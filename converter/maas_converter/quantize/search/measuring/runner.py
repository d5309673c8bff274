"""Candidates as files that run: what a plan weighs, what it answers, how long it takes."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Input
from maas_agent.errors import RuntimeFailure
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.quantize import quantizer
from maas_converter.quantize.kept_float import kept_for
from maas_converter.quantize.plain import PlainModel
from maas_converter.quantize.quantizer import Feed
from maas_converter.quantize.search.candidates import layer_inputs
from maas_converter.quantize.search.candidates.layers import Layer, recipe_of
from maas_converter.quantize.search.candidates.precision_plan import FLOAT32, PrecisionPlan
from maas_converter.quantize.search.candidates.rounding import Rounded, rounded
from maas_converter.quantize.search.measuring.loss import Answers
from maas_converter.tflite.contents import contents_of

Samples = NDArray[Any]

_THREADS = 1

_TURN_RUNS = 10
_MOST_TURNS = 30
_FEWEST_TURNS = 5
_SECONDS_EACH = 0.4
"""Of measuring, for each model, after which the fewest turns are enough."""

AT_ONCE = 8
"""Models to load at a time for timing."""


class RunnableModel:
    """A loaded model with the processing around it: decoded samples in, real values out."""

    def __init__(self, model: Model, spec: Input, names: tuple[str, ...]) -> None:
        """``names`` are those the float model has for its outputs; quantizing may rename them."""
        self._model = model
        self._prepare = preprocessor(Input(model.inputs[0], spec.decode, spec.preprocess))
        self._outputs = list(zip(names, map(dequantizer, model.outputs), strict=True))

    def run(self, sample: Samples) -> dict[str, NDArray[np.float32]]:
        """The model's real answers to one decoded sample, by output."""
        found = self._model.run([self._prepare(sample)])
        return {name: real(values) for (name, real), values in zip(self._outputs, found, strict=True)}

    def answers(self, samples: Samples) -> Answers:
        """The model's real answers to all ``samples`` (N, …)."""
        rows = [self.run(sample) for sample in samples]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class CandidateRunner:
    """Builds and runs the plans of one float model."""

    def __init__(
        self, source: PlainModel, layers: tuple[Layer, ...], spec: Input, calibration: Samples, folder: Path
    ) -> None:
        """Measure the ranges that all plans share, on ``calibration`` (N, …sample); raises what `ranges_of` raises."""
        float32 = source.tflite
        self._steps = source.steps
        self._float32, self._layers, self._spec, self._folder = float32, layers, spec, folder
        self._tensors = [tensor.name for tensor in contents_of(float32).graphs[0].tensors]
        self._accelerator = accelerator("cpu")
        prepare = preprocessor(spec)
        self._kept = kept_for(
            float32, Feed(len(calibration), lambda number: [prepare(calibration[number])]), bits=8, static=True
        )
        self._ranges = quantizer.ranges_of(float32, map(prepare, calibration)) | source.ranges
        self._fed = [prepare(sample) for sample in evenly(calibration, layer_inputs.SAMPLES)]
        self._rounded: dict[int, Rounded] = {}
        self._names = tuple(tensor.name for tensor in self.load(float32).outputs)

    def build(self, plan: PrecisionPlan) -> bytes:
        """The plan's ``.tflite``, always the same one; raises `RuntimeFailure` if the library cannot make it."""
        if plan == FLOAT32:
            return self._float32
        chosen = {change.op: self._round(change.op) for change in plan.changes if change.algorithm == "gptq"}
        source = layer_inputs.with_weights(self._float32, chosen) if chosen else self._float32
        static = plan.whole in ("int8", "int16x8") or bool(plan.changes)
        entries = [*recipe_of(plan, self._layers), *self._kept.entries(contents_of(self._float32))]
        told = {(entry["regex"], entry["operation"]): entry for entry in entries}
        return quantizer.apply(source, list(told.values()), self._clipped(plan) if static else None, self._steps)

    @property
    def kept(self) -> tuple[str, ...]:
        """What stays float in every plan, a sentence each."""
        return self._kept.reasons

    def load(self, tflite: bytes) -> Model:
        """A model of these bytes; raises `RuntimeFailure` if it cannot run here."""
        # The interpreter maps the file into memory: each model has its own, and one that is mapped needs no name.
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".tflite") as file:
            file.write(tflite)
            file.flush()
            return self._accelerator.load(Path(file.name), _THREADS)

    def runnable(self, tflite: bytes) -> RunnableModel:
        """A model of these bytes with the processing around it; raises `RuntimeFailure` if it cannot run here."""
        return RunnableModel(self.load(tflite), self._spec, self._names)

    def times(
        self, first: PrecisionPlan, plans: Sequence[PrecisionPlan], samples: Samples
    ) -> list[tuple[float, float]]:
        """Median latency in milliseconds of each plan, and the median of its ratio to ``first``'s in the same turns."""
        return _compared(_turns([self.runnable(self.build(plan)) for plan in (first, *plans)], samples))[1:]

    def seconds(self, tflite: bytes, samples: Samples) -> float:
        """About how long one inference takes."""
        return _turn(self.runnable(tflite), samples, 0, runs=2) / 1000

    @property
    def activations(self) -> tuple[int, ...]:
        """Indexes of the tensors that have ranges, in order of execution."""
        return tuple(index for index, name in enumerate(self._tensors) if name in self._ranges)

    def _clipped(self, plan: PrecisionPlan) -> quantizer.Ranges:
        shares = {self._tensors[clip.tensor]: clip.percent / 100 for clip in plan.clips}
        narrowed = {name: self._ranges[name] for name in shares}
        return self._ranges | {
            name: quantizer.Range(span.low * shares[name], span.high * shares[name]) for name, span in narrowed.items()
        }

    def _round(self, op: int) -> Rounded:
        if op not in self._rounded:
            layer = next(layer for layer in self._layers if layer.op == op)
            moments = layer_inputs.moments(self._float32, layer, self._fed, self.load)
            try:
                self._rounded[op] = rounded(layer_inputs.weights_of(self._float32, layer), moments)
            except np.linalg.LinAlgError as error:
                raise RuntimeFailure(f"the weights of {layer.label} cannot be rounded by gptq: {error}") from None
        return self._rounded[op]


def evenly(samples: Samples, most: int) -> Samples:
    """At most so many of ``samples`` (N, …), evenly spaced."""
    return samples[np.linspace(0, len(samples) - 1, min(len(samples), most)).astype(np.int64)]


def _turns(models: list[RunnableModel], samples: Samples) -> list[list[float]]:
    """Milliseconds of the median run of each turn of each model: they take turns, so that all are slowed alike."""
    taken: list[list[float]] = [[] for _ in models]
    end = time.monotonic() + _SECONDS_EACH * len(models)
    for turn in range(_MOST_TURNS):
        if turn >= _FEWEST_TURNS and time.monotonic() > end:
            break
        for model, times in zip(models, taken, strict=True):
            times.append(_turn(model, samples, turn))
    return taken


def _turn(model: RunnableModel, samples: Samples, turn: int, runs: int = _TURN_RUNS) -> float:
    """The median of a few runs; one before them, not counted, brings the model back into the caches."""
    model.run(samples[turn % len(samples)])
    taken = []
    for run in range(runs):
        sample = samples[(turn * runs + run) % len(samples)]
        begin = time.perf_counter()
        model.run(sample)
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


def _compared(taken: list[list[float]]) -> list[tuple[float, float]]:
    """Median and median ratio to the first, of each."""
    first = taken[0]
    return [
        (statistics.median(times), statistics.median(a / b for a, b in zip(times, first, strict=True)))
        for times in taken
    ]
