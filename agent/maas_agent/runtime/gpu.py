"""The GPU, through LiteRT's ``CompiledModel``: WebGPU over Vulkan, or OpenCL, whatever the library finds."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maas_agent.errors import RuntimeFailure, UsageError
from maas_agent.runtime import library
from maas_agent.runtime.compiled import compiled_model, count_ops, loaded
from maas_agent.runtime.interface import Model, Share
from maas_agent.runtime.setup import Library

_PRECISIONS = {"f16": False, "f32": True}
"""By the option's value, whether 32 bits are enforced."""


class GpuAccelerator:
    """Runs models on the GPU; see `maas_agent.runtime.interface.Accelerator`.

    Option ``precision``: ``f16``, what GPUs are fastest with, or ``f32``.
    """

    name = "gpu"

    def __init__(self, options: Mapping[str, str], wanted: Library = "auto") -> None:
        self._library = wanted
        if unknown := set(options) - {"precision"}:
            raise UsageError(f"gpu has no option {sorted(unknown)[0]!r}: it has precision")
        precision = options.get("precision", "f16")
        if precision not in _PRECISIONS:
            raise UsageError(f"gpu option precision = {precision!r}: choose one of {', '.join(_PRECISIONS)}")
        self._enforce_f32 = _PRECISIONS[precision]

    def runtime(self) -> str:
        """LiteRT and its version."""
        return library.litert_version(self._library, self.name)

    def load(self, path: Path, threads: int) -> Model:
        """Compile ``path`` for the GPU; ops it lacks run on the processor with ``threads`` threads.

        Raises `RuntimeFailure` if there is no GPU, or it takes none of the ops.
        """
        self.runtime()
        ops = count_ops(path)
        try:
            compiled, _ = compiled_model(path, lambda name: self._compile(name, threads, alone=True))
            return loaded(compiled, path, Share(ops, ops))
        except RuntimeFailure as error:
            alone = str(error)
        compiled, said = compiled_model(path, lambda name: self._compile(name, threads, alone=False))
        accelerated = accelerated_in(said, ops)
        if not accelerated:
            raise RuntimeFailure(f"the GPU takes none of the {ops} ops: {alone}")
        return loaded(compiled, path, Share(accelerated, ops))

    def _compile(self, name: str, threads: int, *, alone: bool) -> Any:
        from ai_edge_litert.compiled_model import (
            CompiledModel,
            CpuOptions,
            Environment,
            GpuOptions,
            HardwareAccelerator,
            Options,
        )

        wanted = HardwareAccelerator.GPU if alone else HardwareAccelerator.GPU | HardwareAccelerator.CPU
        options = Options(
            hardware_accelerators=wanted,
            cpu_options=CpuOptions(num_threads=threads),
            gpu_options=GpuOptions(enforce_f32=self._enforce_f32),
        )
        return CompiledModel.from_file(name, environment=Environment.create(), options=options)


def accelerated_in(said: str, ops: int) -> int:
    """How many ops the GPU delegate says it took."""
    found = re.search(r"(\d+) operations will run on the GPU", said)
    if found:
        return min(int(found[1]), ops)
    return 0
