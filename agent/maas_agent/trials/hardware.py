"""Describes a device as far as it decides what a bundle runs best on: trials are valid while that stays so."""

import hashlib
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

from maas_agent.runtime.machine import look, processor
from maas_agent.runtime.setup import Library


def runtime_version(library: Library) -> str:
    """The interpreter that would be used and its version, looked up, not imported; empty if there is none."""
    return processor(library).found


def fingerprint(library: Library) -> str:
    """The processor, the number of its cores, the memory and the accelerators found, as 16 hex digits."""
    accelerators = [f"{finding.accelerator} {finding.found}" for finding in look(library) if finding.missing is None]
    parts = [platform.machine(), _processor(), str(os.cpu_count()), _memory(), *sorted(accelerators)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cores(cpus: tuple[int, ...] = ()) -> int:
    """Processors that a worker limited to ``cpus`` may use."""
    allowed = os.sched_getaffinity(0)
    return len(allowed & set(cpus) if cpus else allowed) or 1


def _processor() -> str:
    """Name of the processor; on ARM the codes of its designer and part."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        fields = re.findall(r"^(model name|Hardware|CPU implementer|CPU part|Revision)\s*:\s*(.*)$", text, re.MULTILINE)
        return " ".join(sorted({value for _, value in fields}))
    return platform.processor()


def _memory() -> str:
    with suppress(OSError, ValueError):
        # In GiB: what the kernel itself takes differs from boot to boot.
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.0f}"
    return ""
