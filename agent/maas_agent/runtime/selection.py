"""Which accelerators there are, and how a setup becomes one."""

from collections.abc import Mapping

from maas_agent.errors import UsageError
from maas_agent.runtime.cpu import CpuAccelerator
from maas_agent.runtime.interface import Accelerator
from maas_agent.runtime.setup import CPU, Library

NAMES = "cpu"


def accelerator(name: str, options: Mapping[str, str] | None = None, library: Library = "auto") -> Accelerator:
    """The accelerator called ``name`` with its ``options``; raises `UsageError` if there is none of that name."""
    if name == CPU:
        return CpuAccelerator(library)
    raise UsageError(f"accelerator {name!r}: choose one of {NAMES}")
