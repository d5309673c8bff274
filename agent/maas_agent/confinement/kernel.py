"""System calls that Python has no function for."""

import ctypes
import errno
import os
import platform
from functools import cache

NO_NEW_PRIVS, GET_SECCOMP = 38, 21  # linux/prctl.h


class Refused(OSError):  # noqa: N818 - it reads as what it is
    """The kernel does not do it: it has no such call, it is switched off, or somebody forbade it."""


@cache
def _libc() -> ctypes.CDLL:
    if platform.system() != "Linux":
        raise Refused(errno.ENOSYS, "another system than Linux, whose numbers mean other calls")
    return ctypes.CDLL(None, use_errno=True)


def call(what: str, number: int, *values: object) -> int:
    """Make the system call ``number``, called ``what``; raises `Refused`."""
    return _checked(what, _libc().syscall(ctypes.c_long(number), *map(_word, values)))


def prctl(what: str, option: int, *values: int) -> int:
    """Change this process, as prctl(2) says; raises `Refused`."""
    padded = (*values, 0, 0, 0, 0)[:4]
    return _checked(what, _libc().prctl(option, *map(ctypes.c_ulong, padded)))


def libc(what: str, *values: object) -> int:
    """Call the C library's function ``what``; raises `Refused`."""
    return _checked(what, getattr(_libc(), what)(*values))


def _word(value: object) -> object:
    """A number as wide as a register: an int of C would leave what is above it to chance."""
    return ctypes.c_ulong(value & _ALL) if isinstance(value, int) else value


def _checked(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise Refused(number, f"{what}: {os.strerror(number)}")
    return result


_ALL = (1 << 8 * ctypes.sizeof(ctypes.c_ulong)) - 1
