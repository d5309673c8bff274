"""Finds all that a source's program has started, by a mark in the environment that every process inherits.

A process group is not enough: `timeout`, `setsid` and a shell with job control make groups of their own, and whatever
goes into the background gets another parent. And no signal of the kernel's reaches further than one generation.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

MARK = "MAAS_AGENT_SOURCE"
_PROC = Path("/proc")
_ROUNDS = 5
"""A process may be forking while it is looked for."""


def mark_of(store: Path, worker: int | None = None) -> str:
    """The mark of what ``worker`` has started; without one it begins the marks of all workers on this store.

    A store is known by its lock file, because that is what one agent at a time has: process ids come again.
    """
    try:
        lock = (store / "lock").stat()
        owner = f"{lock.st_dev:x}.{lock.st_ino:x}"
    except OSError:
        owner = "-"
    return f"{owner}:" if worker is None else f"{owner}:{worker};"


def marked(mark: str) -> set[int]:
    """The processes whose mark begins so; without this one, zombies, and what belongs to other users."""
    wanted = f"\0{MARK}={mark}".encode()
    found = set[int]()
    try:
        names = os.listdir(_PROC)  # noqa: PTH208 - hundreds of entries, every few milliseconds
    except OSError:
        return found  # not mounted, or no descriptor is left: process groups have to do
    for name in names:
        if name.isdecimal() and int(name) != os.getpid():
            with suppress(OSError):
                if wanted in b"\0" + (_PROC / name / "environ").read_bytes():
                    found.add(int(name))
    return found


def kill(mark: str) -> int:
    """End at once what carries the mark, with the process groups that it is in; returns how many there were."""
    killed = set[int]()
    for _ in range(_ROUNDS):
        found = marked(mark)
        if not found:
            break
        killed |= found
        send(found, signal.SIGKILL)
    return len(killed)


def send(processes: set[int], number: int) -> None:
    """Signal ``processes``, and whatever is in their groups: the environment of some may be another one by now."""
    groups = set[int]()
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            if group == os.getpgrp():
                os.kill(pid, number)
            else:
                groups.add(group)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
