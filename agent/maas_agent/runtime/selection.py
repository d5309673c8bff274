"""Which accelerators there are, and how a setup becomes one."""

from collections.abc import Callable, Mapping

from maas_agent.errors import UsageError
from maas_agent.runtime.cpu import CpuAccelerator
from maas_agent.runtime.delegate import DelegateAccelerator
from maas_agent.runtime.gpu import GpuAccelerator
from maas_agent.runtime.interface import Accelerator
from maas_agent.runtime.npu import NpuAccelerator
from maas_agent.runtime.setup import CPU, DELEGATE, GPU, NPU, Library

_Make = Callable[[Mapping[str, str], Library], Accelerator]


def _cpu(options: Mapping[str, str], library: Library) -> Accelerator:
    if options:
        raise UsageError(f"cpu has no option {sorted(options)[0]!r}: it has none")
    return CpuAccelerator(library)


ACCELERATORS: dict[str, _Make] = {CPU: _cpu, GPU: GpuAccelerator, NPU: NpuAccelerator}
"""By name; beside them there is ``delegate:PATH``."""


def accelerator(name: str, options: Mapping[str, str] | None = None, library: Library = "auto") -> Accelerator:
    """The accelerator called ``name`` with its ``options``.

    Raises `UsageError` if there is none of that name or it has no such option. Whether this machine has it is seen when
    it loads a model.
    """
    if name.startswith(DELEGATE) and name != DELEGATE:
        return DelegateAccelerator(name.removeprefix(DELEGATE), options or {}, library)
    if name not in ACCELERATORS:
        raise UsageError(f"accelerator {name!r}: choose one of {', '.join(ACCELERATORS)}, {DELEGATE}PATH")
    return ACCELERATORS[name](options or {}, library)
