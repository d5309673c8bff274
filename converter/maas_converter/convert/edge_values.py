"""What flows between the stages of a bundle on real samples: each stage is calibrated with what it will be given."""

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Manifest, Output, Tensor
from maas_converter.base.console import Progress
from maas_converter.bench import measure
from maas_converter.bench.blobs import Blobs

Values = dict[str, NDArray[np.float32]]
"""By edge: real values (N, …tensor); a row of NaN where the edge was not made."""


def values_of(
    draft: Manifest, edges: Iterable[Tensor], blobs: Blobs, samples: NDArray[np.generic], progress: Progress
) -> Values:
    """Run ``draft`` on ``samples`` (N, …sample) and keep the real values of ``edges``, whichever stages make them."""
    outputs = tuple(Output(tensor=tensor) for tensor in edges)
    graph = measure.load_graph(msgspec.structs.replace(draft, outputs=outputs), blobs)
    return measure.answers(graph, samples, progress, "running the float model")


def given_to(values: Values, names: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """The edges ``names``, on those samples (M ≤ N) on which all of them were made."""
    taken = [values[name] for name in names]
    made = np.logical_and.reduce([np.isfinite(value.reshape(len(value), -1)).all(axis=1) for value in taken])
    return [value[made] for value in taken]
