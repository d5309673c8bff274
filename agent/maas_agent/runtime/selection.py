"""Which accelerators there are, and which one a pipeline gets."""

from maas_agent.errors import UsageError
from maas_agent.runtime.cpu import CpuAccelerator
from maas_agent.runtime.interface import Accelerator

ACCELERATORS: dict[str, type[Accelerator]] = {"cpu": CpuAccelerator}

AUTO = "auto"


def accelerator(name: str) -> Accelerator:
    """The accelerator called ``name``; ``auto`` is the best of those there are."""
    chosen = "cpu" if name == AUTO else name
    if chosen not in ACCELERATORS:
        raise UsageError(f"accelerator {name!r}: choose one of {', '.join([AUTO, *ACCELERATORS])}")
    return ACCELERATORS[chosen]()
