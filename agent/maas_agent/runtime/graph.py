"""A bundle's stages as one function: samples in, the bundle's output tensors out.

The converter evaluates with this very class, and so does the self-test: what is measured is what serves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.edges import stand_ins
from maas_agent.bundle.manifest import Manifest, Output, Stage, Tensor, check_stand_in
from maas_agent.errors import BundleError, RuntimeFailure
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Accelerator, Array, Model, Share
from maas_agent.runtime.stage import Edges, LoadedStage, check_count, same

Real = NDArray[np.float32]
Reading = tuple[str, Callable[[Array], Real]]
"""An edge, and what makes real values of it."""


class Graph:
    """A loaded bundle."""

    def __init__(
        self, manifest: Manifest, blob_path: Callable[[str], Path], accelerator: Accelerator, threads: int = 1
    ) -> None:
        """Load every stage; raises `RuntimeFailure` if one cannot be loaded or is not what the manifest says."""
        self.manifest = manifest
        self._input = manifest.inputs[0]
        self._preprocess = preprocessor(self._input)
        self._stages: list[LoadedStage] = []
        made = {self._input.tensor.name: self._input.tensor}
        stated = dict(made)
        for stage in manifest.stages:
            model = _loaded(stage, blob_path(stage.blob), accelerator, threads)
            check_count(stage, model)
            for name, tensor in zip(stage.inputs, model.inputs, strict=True):
                if name in stated:  # the first stage that takes the bundle's input takes it as it is stated
                    _check_stated(stage, stated.pop(name), tensor)
            self._stages.append(LoadedStage(stage, model, made))
            made.update(zip(stage.outputs, model.outputs, strict=True))
        self._outputs = _outputs(manifest, made)
        self._first_readings = [(name, *readings[0]) for name, readings in self._outputs]
        self._conditional = any(stage.conditional for stage in self._stages)
        self.accelerated = _accelerated([stage.share for stage in self._stages])
        """Share of all stages' ops that the accelerator took, 0 to 1; ``None`` on the processor."""

    def run(self, sample: NDArray[np.generic]) -> dict[str, Real]:
        """One decoded sample to the real values of the bundle's outputs, by tensor name.

        Outputs of stages that were skipped, and that nothing stands in for, are left out.
        """
        edges: Edges = {self._input.tensor.name: self._preprocess(sample)}
        if self._conditional:
            return self._run_wanted(edges)
        for stage in self._stages:
            stage.run(edges)
        return {name: real(edges[edge]) for name, edge, real in self._first_readings}

    def warm(self) -> None:
        """Run every stage once on zeros, so that the first real sample does not pay for lazy initialization."""
        decode = self._input.decode
        edges: Edges = {self._input.tensor.name: self._preprocess(np.zeros(decode.shape, decode.dtype))}
        for stage in self._stages:
            stage.run(edges)

    def _run_wanted(self, edges: Edges) -> dict[str, Real]:
        for stage in self._stages:
            if stage.wanted(edges):
                stage.run(edges)
        found = {name: _read(edges, readings) for name, readings in self._outputs}
        return {name: values for name, values in found.items() if values is not None}


def deviation(graph: Graph, samples: NDArray[np.generic], expected: Mapping[str, NDArray[np.float32]]) -> float:
    """The largest absolute difference between what ``graph`` answers and what is expected, in real units.

    A row of NaN says that there is no such output for that sample. An output that is there and should not be, or the
    other way round, counts as infinitely far off, and so does a value that is not finite.
    """
    largest = 0.0
    for row, sample in enumerate(samples):
        answer = graph.run(sample)
        for name in answer.keys() | expected.keys():
            wanted = expected[name][row] if name in expected else None
            largest = max(largest, _difference(answer.get(name), wanted))
    return largest


def _difference(found: Real | None, expected: Real | None) -> float:
    if found is None or expected is None:
        return 0.0 if found is None and (expected is None or np.isnan(expected).all()) else float("inf")
    difference = float(np.max(np.abs(found.reshape(-1) - expected.reshape(-1))))
    return difference if np.isfinite(difference) else float("inf")


def _loaded(stage: Stage, path: Path, accelerator: Accelerator, threads: int) -> Model:
    try:
        return accelerator.load(path, threads)
    except RuntimeFailure as error:
        # On a device a model's file is called by its digest, or by a number in memory, which tells a person nothing.
        said = str(error).replace(str(path), f"stage {stage.name!r}")
        if not path.name.isdecimal():
            said = said.replace(path.name, f"stage {stage.name!r}")
        raise RuntimeFailure(said) from None


def _accelerated(shares: list[Share | None]) -> float | None:
    counted = [share for share in shares if share is not None]
    if not counted:
        return None
    return sum(share.accelerated for share in counted) / max(1, sum(share.ops for share in counted))


def _outputs(manifest: Manifest, made: Mapping[str, Tensor]) -> list[tuple[str, list[Reading]]]:
    """For each output, by name, the edges it may be read from, best first."""
    otherwise = {output.tensor.name: output.otherwise for output in manifest.outputs}
    outputs: list[tuple[str, list[Reading]]] = []
    for output in manifest.outputs:
        name = output.tensor.name
        _check_stated(_maker(manifest, name), output.tensor, made[name])
        readings = [(name, dequantizer(output.tensor))]
        readings += [(edge, _stand_in(output, made[edge])) for edge in stand_ins(name, otherwise)]
        outputs.append((name, readings))
    return outputs


def _stand_in(output: Output, tensor: Tensor) -> Callable[[Array], Real]:
    try:
        check_stand_in(output, tensor)
    except BundleError as error:
        raise RuntimeFailure(str(error)) from None
    real = dequantizer(tensor)
    return lambda values: real(values).reshape(output.tensor.shape)


def _read(edges: Edges, readings: list[Reading]) -> Real | None:
    for edge, real in readings:
        if edge in edges:
            return real(edges[edge])
    return None


def _maker(manifest: Manifest, edge: str) -> Stage:
    return next((stage for stage in manifest.stages if edge in stage.outputs), manifest.stages[0])


def _check_stated(stage: Stage, stated: Tensor, found: Tensor) -> None:
    if not same(stated, found):
        raise RuntimeFailure(
            f"tensor {stated.name!r} of stage {stage.name!r} is {list(found.shape)} {found.dtype}, "
            f"the manifest says {list(stated.shape)} {stated.dtype}, or their quantization differs"
        )
