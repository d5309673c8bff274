"""The CPU: LiteRT's interpreter with XNNPACK, or ``tflite-runtime`` where there is no LiteRT (32-bit ARM)."""

import importlib
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maas_agent.bundle.manifest import Quantization, Tensor
from maas_agent.errors import RuntimeFailure, UnavailableError
from maas_agent.runtime.interface import Array, Model
from maas_agent.runtime.setup import Library

_LIBRARIES: dict[Library, str] = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
"""By distribution, the module; the first that is installed is taken unless one is asked for."""


class CpuModel:
    """A model in the interpreter; see `maas_agent.runtime.interface.Model`."""

    share = None

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        input_details = interpreter.get_input_details()
        output_details = interpreter.get_output_details()
        self.inputs = tuple(_tensor(detail) for detail in input_details)
        self.outputs = tuple(_tensor(detail) for detail in output_details)
        self._input_indexes = [detail["index"] for detail in input_details]
        self._output_indexes = [detail["index"] for detail in output_details]

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one inference; raises `RuntimeFailure` if a tensor does not fit or an op fails."""
        try:
            for index, values in zip(self._input_indexes, inputs, strict=True):
                self._interpreter.set_tensor(index, values)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._output_indexes]
        except (ValueError, RuntimeError) as error:
            raise RuntimeFailure(f"inference failed: {error}") from None


class CpuAccelerator:
    """Runs models on the processor; see `maas_agent.runtime.interface.Accelerator`."""

    name = "cpu"

    def __init__(self, library: Library = "auto") -> None:
        self._library = library

    def runtime(self) -> str:
        """The interpreter library that is used, and its version."""
        distribution, _ = _library(self._library)
        return f"{distribution} {importlib.metadata.version(distribution)}"

    def load(self, path: Path, threads: int) -> Model:
        """Load ``path`` with ``threads`` threads and allocate its tensors."""
        _, module = _library(self._library)
        try:
            with _without_greeting():
                interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
                interpreter.allocate_tensors()
            return CpuModel(interpreter)
        except (ValueError, RuntimeError) as error:
            raise RuntimeFailure(f"{path.name} cannot be loaded: {error}") from None


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep what the native library writes to standard error while it succeeds: a log has one line an event.

    It has no setting for that. What it said before a failure is printed.
    """
    kept = os.memfd_create("stderr", os.MFD_CLOEXEC)
    stderr = os.dup(2)
    os.dup2(kept, 2)
    try:
        yield
    except BaseException:
        os.write(stderr, os.pread(kept, 1 << 16, 0))
        raise
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(kept)


def _library(wanted: Library) -> tuple[str, Any]:
    for distribution in _LIBRARIES if wanted == "auto" else (wanted,):
        try:
            return distribution, importlib.import_module(_LIBRARIES[distribution])
        except ImportError:
            continue
    if wanted != "auto":
        raise UnavailableError(f"{wanted} is asked for and cannot be imported: pip install {wanted}")
    raise UnavailableError("no interpreter is installed: pip install ai-edge-litert (32-bit ARM: tflite-runtime)")


def _tensor(detail: dict[str, Any]) -> Tensor:
    parameters = detail["quantization_parameters"]
    quantization = None
    if len(parameters["scales"]) == 1:
        quantization = Quantization(float(parameters["scales"][0]), int(parameters["zero_points"][0]))
    return Tensor(
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        quantization=quantization,
    )
