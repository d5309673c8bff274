"""The parts of a cut model, run one after the other beside the whole."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from maas_agent.runtime.interface import Array, Model
from maas_agent.runtime.selection import accelerator
from maas_converter.tflite.cut import ModelPart, cut, input_edges, output_edges


def loaded(data: bytes) -> Model:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        return accelerator("cpu").load(path, 1)


def run_chain(parts: Sequence[ModelPart], edges: dict[str, Array]) -> dict[str, Array]:
    """All edges there are after the last part."""
    return _run(list(zip(parts, [loaded(part.tflite) for part in parts], strict=True)), edges)


def _run(stages: list[tuple[ModelPart, Model]], edges: dict[str, Array]) -> dict[str, Array]:
    for part, model in stages:
        made = model.run([edges[edge] for edge in part.inputs])
        edges = edges | dict(zip(part.outputs, made, strict=True))
    return edges


def assert_same(data: bytes, positions: Sequence[int], samples: Sequence[list[Array]]) -> tuple[ModelPart, ...]:
    """Cut ``data`` and check, to the bit, that the parts answer what the whole does to ``samples`` (input tensors)."""
    parts, whole = cut(data, positions), loaded(data)
    stages = [(part, loaded(part.tflite)) for part in parts]
    answers = []
    for tensors in samples:
        edges = _run(stages, dict(zip(input_edges(data), tensors, strict=True)))
        for edge, wanted in zip(output_edges(data), whole.run(tensors), strict=True):
            assert edges[edge].tobytes() == wanted.tobytes(), f"{edge} differs when cut after {list(positions)}"
            answers.append(wanted.tobytes())
    assert len(samples) < 2 or len(set(answers)) > 1, "all samples are answered alike: that would prove nothing"
    return parts


def noise(data: bytes, count: int = 3, seed: int = 0) -> list[list[NDArray[np.generic]]]:
    """Seeded input tensors: normal for floats, over the whole range for integers."""
    random = np.random.default_rng(seed)
    tensors = loaded(data).inputs
    return [
        [
            random.normal(0, 1, tensor.shape).astype(tensor.dtype)
            if tensor.dtype.startswith("float")
            else random.integers(np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max, tensor.shape, tensor.dtype)
            for tensor in tensors
        ]
        for _ in range(count)
    ]
