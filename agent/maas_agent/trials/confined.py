"""What a process that runs a model may reach: its bundle's files, the libraries, and what its accelerator needs.

Workers and trials are held by the same, so that what passes a trial serves.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from maas_agent.confinement.access import Access
from maas_agent.runtime.needs import needs_of
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.terms import WorkerLimits


class SourceAccess(msgspec.Struct, frozen=True):
    """What a local source in the worker itself reaches for, beside what the model does."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """Files and folders; of a device, its node."""
    network: bool = False


NOTHING = SourceAccess()
OFF = "limits.confine is false"


def access_of(setup: Setup, limits: WorkerLimits, files: Iterable[Path], source: SourceAccess = NOTHING) -> Access:
    """For a model of ``files`` on ``setup``: no programs, and no network and nothing that it could write to but devices
    and what its ``source`` needs.
    """
    needs = needs_of(setup)
    return Access(
        read=(*map(str, files), *needs.read, *source.read),
        write=(*needs.written, *limits.allow_paths, *source.write),
        network=source.network,
        hotplug=needs.hotplug,
        # Libraries' messages are kept in some while they load, and drivers share some with their devices.
        shared_memory=True,
    )


def hold(setup: Setup, limits: WorkerLimits, files: Iterable[Path], source: SourceAccess = NOTHING) -> str:
    """Confine this process, for good; what it can do all the same, as a sentence: empty if nothing.

    Call it before the accelerator's library is loaded: it may start threads, which not every kernel would hold.
    """
    if not limits.confine:
        return OFF
    from maas_agent.confinement.confine import confine

    _hold_own_folder()
    return confine(access_of(setup, limits, files, source)).sentence()


def hint(setup: Setup, limits: WorkerLimits) -> str:
    """What to add to the reason why an accelerator does not work here: it may lack what it was not given."""
    if not limits.confine or setup.accelerator == CPU:
        return ""
    return " (it runs confined: if it needs more files or devices, name them in limits.allow_paths)"


def _hold_own_folder() -> None:
    """Keep /proc/self open: a rule is for the folder as it is in the kernel's memory, which forgets what nobody has."""
    os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
