"""A bundle's stages as one function: samples in, the bundle's output tensors out.

The converter evaluates with this very class, and so does the self-test: what is measured is what serves.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Manifest, Stage, Tensor
from maas_agent.errors import RuntimeFailure
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Accelerator, Array, Model


class Graph:
    """A loaded bundle."""

    def __init__(
        self, manifest: Manifest, blob_path: Callable[[str], Path], accelerator: Accelerator, threads: int = 1
    ) -> None:
        """Load every stage; raises `RuntimeFailure` if one cannot be loaded or is not what the manifest says."""
        self.manifest = manifest
        self._input = manifest.inputs[0]
        self._preprocess = preprocessor(self._input)
        self._stages = [(stage, accelerator.load(blob_path(stage.blob), threads)) for stage in manifest.stages]
        self._outputs = [(output.tensor.name, dequantizer(output.tensor)) for output in manifest.outputs]
        self._check_interface()

    def run(self, sample: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """One decoded sample to the real values of each of the bundle's outputs, by tensor name."""
        edges: dict[str, Array] = {self._input.tensor.name: self._preprocess(sample)}
        for stage, model in self._stages:
            edges.update(zip(stage.outputs, model.run([edges[name] for name in stage.inputs]), strict=True))
        return {name: dequantized(edges[name]) for name, dequantized in self._outputs}

    def warm(self) -> None:
        """Run once on zeros, so that the first real sample does not pay for lazy initialization."""
        decode = self._input.decode
        self.run(np.zeros(decode.shape, decode.dtype))

    def _check_interface(self) -> None:
        made = {self._input.tensor.name: self._input.tensor}
        for stage, model in self._stages:
            _check_count(stage, model)
            for name, tensor in zip(stage.inputs, model.inputs, strict=True):
                _check_tensor(stage, name, made[name], tensor)
            made.update(zip(stage.outputs, model.outputs, strict=True))
        for output in self.manifest.outputs:
            _check_tensor(self._stages[-1][0], output.tensor.name, output.tensor, made[output.tensor.name])


def deviation(graph: Graph, samples: NDArray[np.generic], expected: Mapping[str, NDArray[np.float32]]) -> float:
    """The largest absolute difference between what ``graph`` answers and what is expected, in real units.

    A value that is not finite counts as infinitely far off.
    """
    largest = 0.0
    for row, sample in enumerate(samples):
        for name, values in graph.run(sample).items():
            difference = float(np.max(np.abs(values.reshape(-1) - expected[name][row].reshape(-1))))
            largest = max(largest, difference if np.isfinite(difference) else float("inf"))
    return largest


def _check_count(stage: Stage, model: Model) -> None:
    if (len(model.inputs), len(model.outputs)) != (len(stage.inputs), len(stage.outputs)):
        raise RuntimeFailure(
            f"stage {stage.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            f"the manifest says {len(stage.inputs)} and {len(stage.outputs)}"
        )


def _check_tensor(stage: Stage, name: str, stated: Tensor, found: Tensor) -> None:
    if (stated.shape, stated.dtype, stated.quantization) != (found.shape, found.dtype, found.quantization):
        raise RuntimeFailure(
            f"tensor {name!r} of stage {stage.name!r} is {list(found.shape)} {found.dtype}, "
            f"the manifest says {list(stated.shape)} {stated.dtype}, or their quantization differs"
        )
