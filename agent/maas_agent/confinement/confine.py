"""Take away from a process what it does not need: `confine`, for good, from all that it starts too, also from root.

Landlock holds files, TCP and signals; seccomp the other sockets, programs, processes and the kernel's insides; limits
hold memory and time. None of it needs a privilege. Plain system calls: see docs/decisions/0013-confined-processes.md.

Call it before the process has loaded or read anything that it is confined because of, and before it has a second
thread: ``python -m maas_agent.confinement`` does so for any module.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from maas_agent.confinement.access import Access, Confinement, Lack

_ALL_BUT_FILES: tuple[Lack, ...] = ("network", "programs", "kernel")
_THREADS = "/proc/self/task"


def confine(access: Access) -> Confinement:
    """Keep this process to ``access`` as far as this system can, and say what it cannot.

    Nothing is raised for what a kernel lacks: whoever calls this knows whether to go on without.
    """
    # Imported here: a process that confines nothing does not load ctypes.
    from maas_agent.confinement import filters, kernel, landlock, limits, places

    lacking: list[Lack] = []
    alone = _threads() == 1
    limits.limit(access)
    version = landlock.version()
    # (1) Paths are opened while there are privileges to; (2) a filter comes last, for it forbids some of this.
    readable, writable = list(places.readable(access)), list(places.writable(access))
    try:
        kernel.prctl("PR_SET_NO_NEW_PRIVS", kernel.NO_NEW_PRIVS, 1)
        if version:
            landlock.restrict(access, readable, writable, version)
    except kernel.Refused:
        version = 0
    try:
        limits.drop_privileges()
    except kernel.Refused:
        lacking.append("privileges")
    try:
        filters.install(access, version)
        filtered = True
    except kernel.Refused:
        filtered = False
    if not alone and not landlock.holds_all_threads(version):
        lacking.append("threads")
    return Confinement(version, filtered, (*_lacking(access, version, filtered), *lacking))


def forbid_programs(access: Access) -> None:
    """Have a process that is confined to ``access`` start no programs and processes any more; nor its threads."""
    from maas_agent.confinement import filters, kernel, landlock

    narrower = msgspec.structs.replace(access, programs=False, processes=False)
    with suppress(kernel.Refused):  # what was lacking is lacking still
        filters.install(narrower, landlock.version())


def offered(access: Access) -> Confinement:
    """What `confine` would give on this system, without doing it."""
    from maas_agent.confinement import filters, landlock

    version, filtered = landlock.version(), filters.available()
    return Confinement(version, filtered, tuple(_lacking(access, version, filtered)))


def command(access: Access, module: str, arguments: Iterable[str], lacking: Iterable[Lack] = ()) -> list[str]:
    """The command line that runs ``module`` confined, or not at all if anything but ``lacking`` is lacking.

    ``-P``: the current folder is the user's, and a keras.py in it must not become ours.
    """
    given = msgspec.json.encode(Launch(access, tuple(lacking))).decode()
    return [sys.executable, "-P", "-m", "maas_agent.confinement", given, module, *arguments]


class Launch(msgspec.Struct, frozen=True):
    """What ``python -m maas_agent.confinement`` is told."""

    access: Access
    lacking: tuple[Lack, ...] = ()
    """What may be lacking: whoever starts it has said so, or has been told to go on."""


def _lacking(access: Access, version: int, filtered: bool) -> Iterator[Lack]:
    if not version:
        yield "files"
    if not filtered:
        asked: dict[Lack, bool] = {"network": not access.network, "programs": not access.programs, "kernel": True}
        yield from (lack for lack in _ALL_BUT_FILES if asked[lack])
    from maas_agent.confinement.landlock import SIGNALS_SINCE

    held_by_filter = filtered and not access.programs and not access.processes
    if not held_by_filter and version < SIGNALS_SINCE:
        yield "signals"


def _threads() -> int:
    try:
        return len(os.listdir(_THREADS))  # noqa: PTH208 - names only
    except OSError:
        return 1  # no /proc: a container's, at its start
