"""What a model can be run with: an accelerator, threads, options, a library. Plain values, nothing native is loaded."""

import sys
from typing import Annotated, Literal

import msgspec

Library = Literal["auto", "ai-edge-litert", "tflite-runtime"]
"""The interpreter library; ``auto`` is the first of the others that is installed."""

_LAST_PYTHON = (3, 11)
"""The last one that tflite-runtime was built for; nor does it load with NumPy 2, and pip does not know."""

CPU = "cpu"
GPU = "gpu"
NPU = "npu"
DELEGATE = "delegate:"
"""Before the path of a delegate's shared library: ``delegate:/usr/lib/libedgetpu.so.1``."""


class Setup(msgspec.Struct, frozen=True):
    """One way to run a bundle on this device.

    ``accelerator`` is ``cpu``, ``gpu``, ``npu`` or ``delegate:PATH``; ``options`` are the accelerator's own, as text.
    """

    accelerator: str = CPU
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    options: dict[str, str] = {}
    library: Library = "auto"

    def __str__(self) -> str:
        """As a person reads it: ``cpu, 2 threads``; ``gpu (precision=f32)``."""
        options = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.accelerator}{f' ({options})' if options else ''}{threads}"


def how_to_get(library: Library, python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """What to do to have ``library`` on this Python: the line to type, where one is enough."""
    if library != "tflite-runtime":
        return "pip install ai-edge-litert"
    if python > _LAST_PYTHON:
        return "make an environment of Python 3.11, the last one that tflite-runtime was built for"
    return "pip install tflite-runtime 'numpy<2'"
