"""Describes what a pipeline asks for, and what its workers may take: what trials depend on."""

import msgspec

from maas_agent.runtime.setup import Library

AUTO = "auto"


class WorkerLimits(msgspec.Struct, frozen=True):
    """What one worker may take of the device."""

    memory_bytes: int = 0
    """For its model, beyond what the interpreter and its libraries take; 0 is no limit."""
    cpus: tuple[int, ...] = ()
    """The processors it may run on; none named is all."""
    nice: int = 0
    confine: bool = False
    """Take away what a model does not need. Not by default: what was tried before there was this, was tried freely."""
    allow_paths: tuple[str, ...] = ()
    """What it may read and write all the same, when it is confined."""


class Terms(msgspec.Struct, frozen=True):
    """``accelerator`` is ``auto`` or one of `maas_agent.runtime.setup.Setup`; ``threads`` 0 is as measured best."""

    accelerator: str = AUTO
    threads: int = 0
    options: dict[str, str] = {}
    library: Library = "auto"
    limits: WorkerLimits = WorkerLimits()
