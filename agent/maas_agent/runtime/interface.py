"""What an accelerator is: it loads a ``.tflite`` file and runs it. One file per accelerator implements this."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Tensor

Array = NDArray[np.generic]


class Model(Protocol):
    """A loaded model. Not thread-safe; outputs are copies."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one inference on stored (quantized) values; raises `RuntimeFailure`."""
        ...


class Accelerator(Protocol):
    """Loads models for one kind of hardware."""

    name: str

    def runtime(self) -> str:
        """Name and version of the library this uses, such as ``ai-edge-litert 2.3.0``; raises `UnavailableError`."""
        ...

    def load(self, path: Path, threads: int) -> Model:
        """Load a ``.tflite`` file; raises `RuntimeFailure` if this machine cannot."""
        ...
