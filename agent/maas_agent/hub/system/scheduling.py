"""Lets a worker that loads step back while another one serves: who waits for an answer comes first.

It runs only where nobody else wants to (``SCHED_IDLE``, sched(7)) until it is ready. Only where that can be undone: as
root, or with a limit on niceness that allows it (``LimitNICE=`` of the unit).
"""

import os
import re
import resource
from contextlib import suppress
from pathlib import Path


def may_step_forward() -> bool:
    """Whether a process of ours that stepped back can be given its old place again.

    sched(7): out of ``SCHED_IDLE`` if its niceness is one that its ``RLIMIT_NICE`` allows, which is 20 - limit.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return soft == resource.RLIM_INFINITY or 20 - soft <= os.getpriority(os.PRIO_PROCESS, 0) or _may_anything()


def step_back(pid: int) -> None:
    """Let the process give way to everybody; threads that it starts from now on do so too."""
    _schedule(pid, os.SCHED_IDLE)


def step_forward(pid: int) -> None:
    """Let the process run as this one does, with all its threads."""
    with suppress(FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            _schedule(int(thread.name), os.sched_getscheduler(0))


def _schedule(thread: int, policy: int) -> None:
    with suppress(PermissionError, ProcessLookupError):  # it may just have ended
        os.sched_setscheduler(thread, policy, os.sched_param(0))


def _may_anything() -> bool:
    """Whether this process has the capability to set priorities (``CAP_SYS_NICE``, number 23)."""
    found = re.search(r"^CapEff:\s+([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(found and int(found[1], 16) >> 23 & 1)
