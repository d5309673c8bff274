"""Waits for children that nobody here has started: a process whose parent ends becomes a child of process 1.

In a container that is the agent, unless something else was put there. A child that is not waited for stays a zombie,
and takes a number of those that there are (wait(2)).
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.process import is_ours

_PROC = Path("/proc")


def reap_orphans(loop: Loop) -> None:
    """From now on wait for every orphan that ends, if this is process 1."""
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, lambda *_: loop.call(reap))


def reap() -> None:
    """Wait for all children that have ended and that nobody here has started."""
    try:
        names = os.listdir(_PROC)  # noqa: PTH208 - its entries are numbers
    except OSError:
        return  # no descriptor is left: the next one that ends brings them all
    for name in names:
        if name.isdecimal() and not is_ours(int(name)) and _is_ended_child(name):
            with suppress(ChildProcessError):
                os.waitpid(int(name), os.WNOHANG)


def _is_ended_child(pid: str) -> bool:
    try:
        # proc(5): "pid (comm) state ppid …"; a name may hold brackets and blanks itself.
        state, parent = (_PROC / pid / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return False
    return state == "Z" and int(parent) == os.getpid()
