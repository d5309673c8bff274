"""What a process may do, and what the kernel took away from it: the values that `maas_agent.confinement.confine` takes
and gives.
"""

from typing import Literal

import msgspec

Lack = Literal["files", "network", "programs", "signals", "kernel", "privileges", "threads"]
"""What could not be taken away: files that it was not given; sockets; other programs and processes; signals to other
processes; parts of the kernel that have nothing to do with computing; root's privileges; all of it from threads that
ran already.
"""

WHAT_IS_LACKING: dict[Lack, str] = {
    "files": "it can read and write every file that its user can (Landlock is missing: Linux 5.13, in its lsm= list)",
    "network": "it can reach the network (seccomp is missing)",
    "programs": "it can start programs (seccomp is missing)",
    "signals": "it can end its user's processes (seccomp and Landlock 6 are missing: Linux 6.12)",
    "kernel": "it can make every system call (seccomp is missing)",
    "privileges": "it keeps the privileges of root",
    "threads": "threads that ran before are not held (Landlock 8 is missing: Linux 7.0)",
}


class Access(msgspec.Struct, frozen=True):
    """What a process may still do when it is confined, beside computing, making threads, and using what is open.

    A path is a file, or a folder with everything beneath it. A link is followed when the process is confined, and one
    that is not there then is left out. ``stat`` is not held by any Linux: that a file is there can be seen by its name.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """Read, made, changed, moved within, removed; devices take their ioctls. Links, pipes and devices are not made."""
    python: bool = True
    """Read Python, its packages, this program, and the system's libraries."""
    network: bool = False
    """Connect to others, over IP and to local sockets, and look names up. Nobody listens in either case."""
    local_sockets: bool = True
    """With ``network``: connect to sockets of other processes of this machine too."""
    hotplug: bool = False
    """Hear from the kernel which devices are plugged in and pulled out: USB libraries do not start without."""
    programs: bool = False
    """Start programs, which are held by the same; implies ``processes``."""
    processes: bool = False
    """Fork."""
    attributes: bool = False
    """Change owners, rights, times and attributes of files, of all that its user may: Landlock knows no such right."""
    shared_memory: bool = False
    """Make memory that others can map, which no limit counts: GPU drivers do."""
    memory_bytes: int | None = None
    """Most of its own memory that can be written to (RLIMIT_DATA)."""
    file_bytes: int | None = None
    """Most that it writes into one file (RLIMIT_FSIZE)."""
    cpu_seconds: int | None = None
    """Most processor time on all cores together: SIGXCPU, and a little later SIGKILL."""
    tasks: int | None = None
    """Most processes and threads that its user has, these included (RLIMIT_NPROC); root's are not counted."""


class Confinement(msgspec.Struct, frozen=True):
    """What the kernel gave, or has to give."""

    landlock: int
    """The version of Landlock in force, 0 for none."""
    seccomp: bool
    lacking: tuple[Lack, ...] = ()
    """What was asked for and is not held."""

    def sentence(self) -> str:
        """What it can do although it should not, as the rest of a sentence; empty if nothing."""
        return "; ".join(WHAT_IS_LACKING[lack] for lack in self.lacking)
