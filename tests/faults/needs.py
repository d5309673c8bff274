"""What a scenario needs of the machine, and what is missing of it here."""

import os
import shutil

import msgspec

from tests.faults import disk, namespace


class Lack(msgspec.Struct, frozen=True):
    """Why something cannot be played here. What can be installed must be there in CI."""

    reason: str
    installable: bool = False


def clock() -> Lack | None:
    """To make another clock a small library is compiled."""
    if shutil.which("cc") or shutil.which("gcc"):
        return None
    return Lack("there is no C compiler: sudo apt install gcc libc6-dev", installable=True)


def cable() -> Lack | None:
    """A network namespace."""
    if namespace.PROGRAM is None:
        return Lack("there is no `ip`: sudo apt install iproute2", installable=True)
    if os.geteuid() != 0:
        return Lack("a network namespace is made, which needs root")
    refused = namespace.refused()
    return Lack(f"this machine allows no network namespace: {refused}") if refused else None


def small_disk() -> Lack | None:
    """A file system in memory."""
    if os.geteuid() != 0:
        return Lack("a small disk is mounted, which needs root")
    refused = disk.refused()
    return Lack(f"this machine mounts no tmpfs: {refused}") if refused else None
