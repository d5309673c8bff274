"""Starts child processes with one end of a socketpair, waits for them, ends them with all that they started."""

import contextlib
import errno
import os
import resource
import signal
import socket
import sys
from pathlib import Path

_OPEN = Path("/proc/self/fd")


def spawn(module: str, end: socket.socket) -> int:
    """Start ``python -P -m module FD`` with one end of a socketpair; returns its process id.

    It leads a process group of its own: Ctrl-C in a terminal does not reach it, and what it leaves behind can be ended
    with it. Not a session: the kernel shares the processor between sessions before it looks at what is in them
    (sched(7), autogroup), and a worker that steps back would get as much as the hub.
    """
    end.set_inheritable(True)
    # -P: no module is taken from the folder in which the agent was started, nor may a confined child read that.
    arguments = [sys.executable, "-P", "-m", module, str(end.fileno())]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions, setpgroup=0)
    _spawned.add(pid)
    return pid


_spawned = set[int]()
"""What `spawn` has started and `wait_for` has not waited for."""


def wait_for(pid: int) -> int:
    """The wait status of a process that `spawn` has started and that has ended."""
    _spawned.discard(pid)
    return os.waitpid(pid, 0)[1]


def is_ours(pid: int) -> bool:
    """Whether somebody here waits for it."""
    return pid in _spawned


class Child:
    """A process that was spawned, with our end of its socketpair, and a descriptor that says when it ends.

    Raises ``OSError`` where there is no descriptor, process or memory left for it, with nothing left behind. So many
    descriptors as ``spare`` says stay free: workers must not take those that a connection to the broker needs.
    """

    def __init__(self, module: str, spare: int = 0) -> None:
        if spare and len(list(_OPEN.iterdir())) + spare > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = spawn(module, theirs)
            except OSError:
                self.socket.close()
                raise
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.socket.close()
            end_group(self.pid)
            wait_for(self.pid)
            raise
        self.socket.setblocking(False)


def end_group(pid: int, sent: int = signal.SIGKILL) -> None:
    """Signal everything in the process group that `spawn` began."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sent)


def describe_exit(status: int) -> str:
    """A wait status as a phrase: ``was killed by SIGSEGV``, ``exited with 1``."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with {os.WEXITSTATUS(status)}"
