"""Running the models that tests make: real values in, real values out, whatever the file stores them as."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode, Input
from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import preprocessor
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.quantize.quantizer import Feed


def loaded(tflite: bytes, folder: Path) -> Model:
    path = folder / "model.tflite"
    path.write_bytes(tflite)
    return accelerator("cpu").load(path, 1)


def answers(tflite: bytes, samples: NDArray[np.generic], folder: Path) -> NDArray[np.float32]:
    """The first output's real values (N, …) for ``samples`` (N, …tensor without its batch)."""
    model = loaded(tflite, folder)
    prepare = preprocessor(Input(model.inputs[0], Decode(samples.shape[1:], samples.dtype.name)))
    real = dequantizer(model.outputs[0])
    return np.stack([real(model.run([prepare(sample)])[0]).ravel() for sample in samples])


def feed(samples: NDArray[np.generic]) -> Feed:
    """Samples (N, …tensor without its batch) as they are."""
    return Feed(len(samples), lambda number: [samples[number][None].astype(np.float32)])


def noise(shape: tuple[int, ...], count: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, *shape), dtype=np.float32)
