"""Limits, and privileges of root: what any Unix can take from a process."""

import ctypes
import resource
import sys

from maas_agent.confinement import kernel
from maas_agent.confinement.access import Access

_LAST_WORDS_S = 5
"""Seconds of processor time between SIGXCPU, which says what happened, and SIGKILL."""
_CAPABILITY_VERSION_3, _DAC_OVERRIDE = 0x20080522, 1 << 1  # linux/capability.h


def limit(access: Access) -> None:
    """Lower the limits that ``access`` says, and write no core files: a model's memory may hold somebody's data.

    Not RLIMIT_AS: libraries reserve far more addresses than they use.
    """
    _lower(resource.RLIMIT_CORE, 0)
    for kind, bound in (
        (resource.RLIMIT_DATA, access.memory_bytes),
        (resource.RLIMIT_FSIZE, access.file_bytes),
        (resource.RLIMIT_NPROC, access.tasks),
    ):
        if bound is not None:
            _lower(kind, bound)
    if access.cpu_seconds is not None:
        _lower(resource.RLIMIT_CPU, access.cpu_seconds, before=min(_LAST_WORDS_S, access.cpu_seconds - 1))


def _lower(kind: int, bound: int, before: int = 0) -> None:
    soft, hard = (sys.maxsize if now == resource.RLIM_INFINITY else now for now in resource.getrlimit(kind))
    bound = min(bound, hard)
    resource.setrlimit(kind, (min(soft, max(0, bound - before)), bound))


def drop_privileges() -> None:
    """Keep one of root's: to open files whoever owns them, of those that Landlock leaves; raises `kernel.Refused`.

    No program that is started gets any back, where no_new_privs is set.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, of 32 each; the upper halves follow
    kernel.libc("capget", header, sets)
    kept = (_DAC_OVERRIDE & sets[0], _DAC_OVERRIDE & sets[1], 0, 0, 0, 0)
    kernel.libc("capset", header, (ctypes.c_uint32 * 6)(*kept))
