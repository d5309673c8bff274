"""Makes a memory cgroup for each worker, where systemd has delegated ours to us (``Delegate=memory``).

What a limit on address space cannot see (memory of a driver, of a source's program) is bounded too, and when it is not
enough the kernel ends that worker and nobody else. Both hierarchies of cgroups: cgroup-v2.rst and cgroup-v1/memory.rst
of the kernel's documentation; systemd marks what is delegated with an extended attribute (its CGROUP_DELEGATION page).
"""

import os
import re
from contextlib import suppress
from pathlib import Path

_OWN_BYTES = 160 << 20
"""What a worker takes beside its model: Python and the libraries, and an input while it is decoded."""
_MARKS = ("user.delegate", "trusted.delegate")


class MemoryGroups:
    """Holds the delegated group of this process; workers get groups below it."""

    def __init__(self, folder: Path, limit_file: str) -> None:
        self._folder, self._limit_file = folder, limit_file

    @classmethod
    def delegated(cls) -> "MemoryGroups | None":
        """Ours, if it was delegated to us with its memory controller; else ``None``."""
        hierarchies = dict(re.findall(r"^\d+:([^:]*):(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE))
        with suppress(OSError):
            if (first := _mounted("memory", hierarchies.get("memory"))) is not None and _is_delegated(first):
                return cls(first, "memory.limit_in_bytes")
            if (second := _mounted("", hierarchies.get(""))) is not None and _is_delegated(second):
                return _second_hierarchy(second)
        return None

    def bound(self, pid: int, limit_bytes: int) -> None:
        """Put the process into a group of its own, which may take ``limit_bytes`` for its model.

        What cannot be done is left: the limit on address space is still there.
        """
        group = self._group(pid)
        with suppress(OSError):
            group.mkdir()
            (group / self._limit_file).write_text(str(limit_bytes + _OWN_BYTES))
            (group / "cgroup.procs").write_text(str(pid))

    def forget(self, pid: int) -> None:
        """Remove the group of a process that has ended."""
        with suppress(OSError):
            self._group(pid).rmdir()

    def _group(self, pid: int) -> Path:
        return self._folder / f"worker-{pid}"


def _mounted(controller: str, path: str | None) -> Path | None:
    """Where a hierarchy is mounted: that of a controller (version 1), or without a name the unified one."""
    if path is None:
        return None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        wanted = kind == "cgroup" and controller in options.split(",") if controller else kind == "cgroup2"
        if wanted:
            return Path(fields.split()[4]) / path.lstrip("/")
    return None


def _is_delegated(folder: Path) -> bool:
    for mark in _MARKS:
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return os.access(folder, os.W_OK)
    return False


def _second_hierarchy(folder: Path) -> MemoryGroups | None:
    """A group of version 2 with groups below it holds no processes itself: this one moves down too."""
    if "memory" not in (folder / "cgroup.controllers").read_text().split():
        return None
    hub = folder / "hub"
    hub.mkdir(exist_ok=True)
    (hub / "cgroup.procs").write_text(str(os.getpid()))
    (folder / "cgroup.subtree_control").write_text("+memory")
    return MemoryGroups(folder, "memory.max")
