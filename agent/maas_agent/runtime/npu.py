"""NPUs, through LiteRT's ``CompiledModel`` and a vendor's dispatch library.

The vendor's compiler plug-in compiles what it can take when the model is loaded; the processor runs the rest. If the
plug-in fails, LiteRT runs everything on the processor without a word, and even calls that fully accelerated: so what
was really taken is read from what the library says, and nothing taken is an error here.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maas_agent.errors import RuntimeFailure, UnavailableError, UsageError
from maas_agent.runtime import library
from maas_agent.runtime.compiled import compiled_model, count_ops, loaded
from maas_agent.runtime.interface import Model, Share
from maas_agent.runtime.native import errors_in
from maas_agent.runtime.setup import Library
from maas_agent.runtime.vendors import VENDORS, default_vendor, folder_of

_COMMON = ("vendor", "dispatch", "compiler")
_OF_VENDOR = {
    "intel_openvino": ("backend", "performance_mode"),
    "qualcomm": ("htp_performance_mode",),
}
"""Options of a vendor's own, beside the common ones."""


class NpuAccelerator:
    """Runs models on an NPU; see `maas_agent.runtime.interface.Accelerator`.

    Options: ``vendor``, one of `VENDORS` (else the first whose dispatch library is installed); ``dispatch`` and
    ``compiler``, the folders of its libraries (else those of the package); for Intel ``backend`` (``npu``, ``gpu``,
    ``cpu``) and ``performance_mode`` (``latency``, ``throughput``, ``cumulative_throughput``); for Qualcomm
    ``htp_performance_mode`` (``burst``, ``balanced``, ``power_saver`` …).
    """

    name = "npu"

    def __init__(self, options: Mapping[str, str], wanted: Library = "auto") -> None:
        self._library = wanted
        self._options = dict(options)
        vendor = options.get("vendor") or default_vendor()
        if options.get("vendor") and vendor not in VENDORS:
            raise UsageError(f"npu option vendor = {vendor!r}: choose one of {', '.join(VENDORS)}")
        self._vendor = vendor or ""
        known = (*_COMMON, *_OF_VENDOR.get(self._vendor, ()))
        if unknown := [key for key in options if key not in known]:
            of = f" of {self._vendor}" if self._vendor else ""
            raise UsageError(f"npu{of} has no option {unknown[0]!r}: it has {', '.join(known)}")

    def runtime(self) -> str:
        """LiteRT and its version."""
        return library.litert_version(self._library, self.name)

    def load(self, path: Path, threads: int) -> Model:
        """Compile ``path`` for the NPU; ops it lacks run on the processor with ``threads`` threads.

        Raises `UnavailableError` if the vendor's libraries are missing, `RuntimeFailure` if none of the ops was taken.
        """
        self.runtime()
        dispatch, compiler = self._folder("dispatch"), self._folder("compiler")
        ops = count_ops(path)
        compiled, said = compiled_model(path, lambda name: self._compile(name, threads, dispatch, compiler))
        accelerated = accelerated_in(said)
        if not accelerated:
            reason = errors_in(said) or "its compiler took none of them"
            raise RuntimeFailure(f"the NPU ({self._vendor}) runs none of the {ops} ops: {reason}")
        return loaded(compiled, path, Share(min(accelerated, ops), ops))

    def _folder(self, kind: str) -> Path:
        named = self._options.get(kind)
        if named is not None:
            folder = Path(named)
            if not any(folder.glob("*.so")):
                raise UnavailableError(f"npu option {kind}: there is no library in {folder}")
            return folder
        found = folder_of(self._vendor, kind) if self._vendor else None
        if found is None:
            raise UnavailableError(
                f"ai-edge-litert brings no {kind} library of {self._vendor or 'any NPU'} for this machine: "
                f"set pipeline.options {kind} to the folder of the vendor's"
            )
        return found

    def _compile(self, name: str, threads: int, dispatch: Path, compiler: Path) -> Any:
        from ai_edge_litert.compiled_model import (
            CompiledModel,
            CpuOptions,
            Environment,
            HardwareAccelerator,
            Options,
        )

        environment = Environment.create(
            dispatch_library_path=str(dispatch.absolute()), compiler_plugin_path=str(compiler.absolute())
        )
        options = Options(
            hardware_accelerators=HardwareAccelerator.NPU | HardwareAccelerator.CPU,
            cpu_options=CpuOptions(num_threads=threads),
            **self._vendor_options(),
        )
        return CompiledModel.from_file(name, environment=environment, options=options)

    def _vendor_options(self) -> dict[str, Any]:
        from ai_edge_litert import options as litert

        if self._vendor == "intel_openvino":
            backend = _member(litert.IntelOpenVinoGraphBackend, "backend", self._options.get("backend", "npu"))
            mode = self._options.get("performance_mode")
            chosen = None if mode is None else _member(litert.IntelOpenVinoPerformanceMode, "performance_mode", mode)
            openvino = litert.IntelOpenVinoOptions(graph_backend=backend, performance_mode=chosen)
            return {"intel_openvino_options": openvino}
        if self._vendor == "qualcomm" and (mode := self._options.get("htp_performance_mode")) is not None:
            chosen = _member(litert.QualcommHtpPerformanceMode, "htp_performance_mode", mode)
            return {"qualcomm_options": litert.QualcommOptions(htp_performance_mode=chosen)}
        return {}


def accelerated_in(said: str) -> int:
    """How many ops the compiler plug-in took, if what it compiled was applied."""
    applied = re.search(r"(\d+) compiler plugins were applied successfully", said)
    if applied is None or int(applied[1]) == 0:
        return 0
    return sum(int(taken) for taken in re.findall(r"Partitioned subgraph<\d+>, selected (\d+) ops", said))


def _member(kind: Any, option: str, value: str) -> Any:
    if value.upper() not in kind.__members__:
        raise UsageError(f"npu option {option} = {value!r}: choose one of {', '.join(kind.__members__).lower()}")
    return kind[value.upper()]
