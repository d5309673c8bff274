"""Bounds this process: its processors, its niceness, and the memory that its model may take."""

import os
import re
import resource
from pathlib import Path

from maas_agent.errors import UnavailableError
from maas_agent.runtime.setup import GPU, NPU, Setup
from maas_agent.trials.terms import WorkerLimits

_SLACK_BYTES = 8 << 20
"""What two loads of one model differ by: a worker must not die of what its trial had."""


def share_device(limits: WorkerLimits) -> None:
    """Take the processors and the niceness that are allowed; raises `UnavailableError` for processors there are not."""
    if limits.cpus:
        try:
            os.sched_setaffinity(0, limits.cpus)
        except OSError:
            there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            raise UnavailableError(f"limits.cpus = {list(limits.cpus)}: this device has {there}") from None
    if limits.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, limits.nice)


def bound_memory(setup: Setup, limit_bytes: int) -> None:
    """Let this process take so much more than it has now; what it asks for beyond that fails.

    Address space (``RLIMIT_AS``) on the processor and with external delegates. The drivers of GPUs and NPUs reserve
    address space without taking memory: there it is writable private memory (``RLIMIT_DATA``).
    """
    if limit_bytes <= 0:
        return
    kind = resource.RLIMIT_DATA if _reserves(setup) else resource.RLIMIT_AS
    soft = taken(setup) + limit_bytes + _SLACK_BYTES
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(kind, (soft, hard))


def taken(setup: Setup, *, at_most: bool = False) -> int:
    """Bytes of the kind that `bound_memory` bounds: now, or the most there ever were where the kernel keeps that."""
    if _reserves(setup):
        return _kib("VmData") << 10
    return _kib("VmPeak" if at_most else "VmSize") << 10


def peak_resident() -> int:
    """The most memory this process has had resident, in bytes."""
    return _kib("VmHWM") << 10


def available_bytes() -> int:
    """Memory the system could give without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 1 << 62


def _reserves(setup: Setup) -> bool:
    return setup.accelerator in (GPU, NPU)


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
