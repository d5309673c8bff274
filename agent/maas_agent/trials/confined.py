"""What a process that runs a model may reach: its bundle's files, the libraries, and what its accelerator needs.

Workers and trials are held by the same, so that what passes a trial serves.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import msgspec

from maas_agent.confinement.access import Access
from maas_agent.runtime.needs import needs_of
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.terms import WorkerLimits

_MOST_NAMED = 3


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


def hold(
    setup: Setup,
    limits: WorkerLimits,
    files: Iterable[Path],
    source: SourceAccess = NOTHING,
    before: Callable[[], None] = lambda: None,
) -> str:
    """Confine this process, for good; what it can do all the same, as a sentence: empty if nothing.

    Call it before the accelerator's library is loaded: it may start threads, which not every kernel would hold. When it
    is known what is kept, and nothing is taken yet, ``before`` is called.
    """
    if not limits.confine:
        return OFF
    from maas_agent.confinement.confine import confine

    _hold_own_folder()
    access = access_of(setup, limits, files, source)
    before()
    return confine(access).sentence()


def hint(setup: Setup, limits: WorkerLimits, refused: Iterable[str] | None = None) -> str:
    """What to add to the reason why an accelerator does not work here: it may lack what it was not given.

    ``refused`` are the files that it asked for in vain; ``None`` where nobody was told.
    """
    if not limits.confine or setup.accelerator == CPU:
        return ""
    if refused is None:
        return " (it runs confined: if it needs more files or devices, name them in limits.allow_paths)"
    named = ", ".join(islice(refused, _MOST_NAMED))
    return f" (it runs confined, and was refused {named}: limits.allow_paths)" if named else ""


def refused(asked: Mapping[str, bool], access: Access) -> list[str]:
    """Of the files that were ``asked`` for, and whether to write to them, those that are there and were not given."""
    from maas_agent.confinement import places

    written = _resolved(places.writable(access))
    read = written + _resolved(places.readable(access))
    there = {os.path.realpath(path): writes for path, writes in asked.items() if os.path.exists(path)}  # noqa: PTH110
    return sorted(path for path, writes in there.items() if not _is_beneath(path, written if writes else read))


def _resolved(paths: Iterable[str]) -> list[str]:
    return [os.path.realpath(path) for path in paths]


def _is_beneath(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _hold_own_folder() -> None:
    """Keep /proc/self open: a rule is for the folder as it is in the kernel's memory, which forgets what nobody has."""
    os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
