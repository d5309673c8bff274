"""What an accelerator is: it loads a ``.tflite`` file and runs it. One file per accelerator implements this."""

from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Tensor

Array = NDArray[np.generic]


class Share(msgspec.Struct, frozen=True):
    """How many of a model's ops the accelerator really took; the processor runs the others."""

    accelerated: int
    ops: int


class Model(Protocol):
    """A loaded model. Not thread-safe; outputs are copies."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    share: Share | None
    """``None`` on the processor itself, where there is nothing to be told apart."""

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
        """Load a ``.tflite`` file; raises `RuntimeFailure` if this machine cannot.

        An accelerator that would take none of the model's ops refuses: it would be the processor by another name.
        """
        ...
