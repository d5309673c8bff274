"""seccomp: which system calls a process may make, as a program for the kernel.

See linux/seccomp.h, linux/filter.h and Documentation/userspace-api/seccomp_filter.rst. It lists what is refused and not
what is allowed: what libraries call changes with each of their versions, and a call that only computes harms nobody.
The kernel remembers which calls pass whatever their arguments are (since Linux 5.11), so that it costs them nothing.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator

from maas_agent.confinement import calls, kernel
from maas_agent.confinement.access import Access
from maas_agent.confinement.calls import Machine
from maas_agent.confinement.landlock import TRUNCATE_SINCE

_SECCOMP = {0: 317, 1: 277, 2: 383}  # by the column of the machine
_SET_FILTER, _ACTION_AVAILABLE = 1, 2
_ALL_THREADS = 1
_NO_SLOWER = 4
"""Older kernels switch a processor's speculation off with a filter, for all that it computes afterwards."""

_NEW_LISTENER = 8

_ALLOWED, _ERROR, _KILLED, _NOTIFIED = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
_REFUSED, _UNKNOWN = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _AND, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x05, 0x06
_NUMBER, _AUDIT, _ARGUMENTS = 0, 4, 16  # struct seccomp_data

_ALL_BITS = 0xFFFFFFFF
_CLONE_THREAD, _CLONE_NEW_NAMESPACES = 0x10000, 0x7E020000
_NETLINK, _KOBJECT_UEVENT = 16, 15  # linux/netlink.h
_FAMILIES = (1, 2, 10, _NETLINK)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: those that names are looked up and servers reached by."""
_CONNECTED = (1, 5)
"""SOCK_STREAM and SOCK_SEQPACKET: a pair of others could be connected to somebody else."""
_TYPE_OF_SOCKET = 0xF
_INTO_TERMINALS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: what is typed so, the shell that started us runs."""
_SET_OWNER = (8, 15)
"""F_SETOWN and F_SETOWN_EX: whom a signal is sent to when a file can be read."""
_SHARED_ANONYMOUS, _KIND_OF_MAPPING = 0x21, 0x2F


def available() -> bool:
    """Whether the kernel takes filters, and this module knows the machine."""
    machine = calls.machine()
    if machine is None:
        return False
    try:
        kernel.prctl("PR_GET_SECCOMP", kernel.GET_SECCOMP)
        action = ctypes.c_uint32(_REFUSED & 0xFFFF0000)
        kernel.call("seccomp", _SECCOMP[machine.column], _ACTION_AVAILABLE, 0, ctypes.byref(action))
    except kernel.Refused:
        return False
    return True


def install(access: Access, landlock: int) -> None:
    """Filter the calls of all threads of this process from now on, beside version ``landlock`` of that.

    Raises `kernel.Refused`. The process must have given new privileges up.
    """
    machine = calls.machine()
    if machine is None:
        raise kernel.Refused(errno.ENOSYS, "seccomp: the numbers of this machine's calls are not known")
    install_program(b"".join(program_for(access, machine, landlock)), machine)


def install_program(program: bytes, machine: Machine) -> None:
    """Have the kernel run ``program``, steps of eight bytes, before each call; raises `kernel.Refused`."""
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    unequal = kernel.call(
        "seccomp", _SECCOMP[machine.column], _SET_FILTER, _ALL_THREADS | _NO_SLOWER, ctypes.create_string_buffer(header)
    )
    if unequal:
        raise kernel.Refused(errno.EBUSY, f"seccomp: thread {unequal} has another filter")


def notified(names: Iterable[str], machine: Machine) -> bytes:
    """A program by which the kernel asks somebody else before each of these calls."""
    rules = _Rules(machine)
    steps = [_load_number(), *rules.refuse(names, _NOTIFIED), _step(_RETURN, _ALLOWED)]
    return b"".join(steps)


def listening(program: bytes, machine: Machine) -> int:
    """Have the kernel run ``program`` for this thread; a descriptor for who is asked. Raises `kernel.Refused`."""
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    flags = _NEW_LISTENER | _NO_SLOWER
    return kernel.call("seccomp", _SECCOMP[machine.column], _SET_FILTER, flags, ctypes.create_string_buffer(header))


def program_for(access: Access, machine: Machine, landlock: int) -> Iterator[bytes]:
    """The steps that keep a process to ``access`` on ``machine``, beside version ``landlock`` of that."""
    yield from (_step(_LOAD, _AUDIT), _step(_EQUAL, machine.audit, skip=1), _step(_RETURN, _KILLED), _load_number())
    if machine.is_arm:
        yield from (_step(_AT_LEAST, calls.PRIVATE_TO_ARM, otherwise=1), _step(_RETURN, _ALLOWED))
    yield from (_step(_AT_LEAST, calls.NEWEST + 1, otherwise=1), _step(_RETURN, _UNKNOWN))
    rules = _Rules(machine)
    yield from rules.refuse(calls.NEVER)
    # The flags are behind a pointer; libraries know kernels without it, and take clone.
    yield from rules.refuse(["clone3"], _UNKNOWN)
    yield from rules.refuse_if("ioctl", 1, _ALL_BITS, _INTO_TERMINALS)
    yield from rules.refuse_unless("prlimit64", 0, _ALL_BITS, (0,))
    yield from _network(access, rules)
    yield from _processes(access, rules)
    yield from _files(access, rules, landlock)
    yield _step(_RETURN, _ALLOWED)


def _network(access: Access, rules: "_Rules") -> Iterator[bytes]:
    yield from rules.refuse_unless("socketpair", 1, _TYPE_OF_SOCKET, _CONNECTED)
    if access.network:
        yield from rules.refuse(calls.SERVERS)
        yield from rules.refuse_unless("socket", 0, _ALL_BITS, _FAMILIES if access.local_sockets else _FAMILIES[1:])
    elif access.hotplug:
        yield from rules.refuse([call for call in calls.SOCKETS if call != "bind"])
        yield from rules.refuse_unless("socket", 0, _ALL_BITS, (_NETLINK,))
        yield from rules.refuse_unless("socket", 2, _ALL_BITS, (_KOBJECT_UEVENT,))
    else:
        yield from rules.refuse(["socket", *calls.SOCKETS])


def _processes(access: Access, rules: "_Rules") -> Iterator[bytes]:
    yield from rules.refuse(() if access.programs else calls.PROGRAMS)
    if access.programs or access.processes:
        yield from rules.refuse_namespaces()
        return  # by which number they are signalled cannot be known before
    yield from rules.refuse(calls.PROCESSES)
    yield from rules.refuse_if("clone", 0, _CLONE_THREAD, (0,))
    for name in calls.SIGNALS:
        yield from rules.refuse_unless(name, 0, _ALL_BITS, (os.getpid(),))
    for name in ("fcntl", "fcntl64"):
        yield from rules.refuse_if(name, 1, _ALL_BITS, _SET_OWNER)


def _files(access: Access, rules: "_Rules", landlock: int) -> Iterator[bytes]:
    if not access.attributes:
        yield from rules.refuse(calls.ATTRIBUTES)
    if not access.shared_memory:
        yield from rules.refuse(calls.SHARED_MEMORY)
        for name in ("mmap", "mmap2"):
            yield from rules.refuse_if(name, 3, _KIND_OF_MAPPING, (_SHARED_ANONYMOUS,))
    if 0 < landlock < TRUNCATE_SINCE:
        # It lets whoever may read a file empty it.
        yield from rules.refuse(calls.TRUNCATES)
        yield from rules.refuse(["openat2"], _UNKNOWN)
        emptying = (os.O_RDONLY | os.O_TRUNC,)
        yield from rules.refuse_if("open", 1, os.O_ACCMODE | os.O_TRUNC, emptying)
        yield from rules.refuse_if("openat", 2, os.O_ACCMODE | os.O_TRUNC, emptying)


class _Rules:
    """Rules on calls of one machine. Each finds the call's number loaded, and leaves it so."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def refuse(self, names: Iterable[str], answer: int = _REFUSED) -> Iterator[bytes]:
        for name in names:
            if (number := calls.number(name, self._machine)) is not None:
                yield from (_step(_EQUAL, number, otherwise=1), _step(_RETURN, answer))

    def refuse_if(self, name: str, argument: int, mask: int, values: tuple[int, ...]) -> Iterator[bytes]:
        """Refuse it where the argument's bits under ``mask`` are one of ``values``."""
        return self._judged(name, argument, mask, values, [_step(_JUMP, 1), _step(_RETURN, _REFUSED)])

    def refuse_unless(self, name: str, argument: int, mask: int, values: tuple[int, ...]) -> Iterator[bytes]:
        """Refuse it where they are none of them."""
        return self._judged(name, argument, mask, values, [_step(_RETURN, _REFUSED)])

    def refuse_namespaces(self) -> Iterator[bytes]:
        """Refuse a new process in namespaces of its own, where it would be root."""
        return self.refuse_unless("clone", 0, _CLONE_NEW_NAMESPACES, (0,))

    def _judged(
        self, name: str, argument: int, mask: int, values: tuple[int, ...], end: list[bytes]
    ) -> Iterator[bytes]:
        """A value that is found skips the first step of ``end``."""
        number = calls.number(name, self._machine)
        if number is None:
            return
        # The lower half of an argument: what is judged here is an int of 32 bits. All three machines are little-endian.
        found = [_step(_EQUAL, value, skip=len(values) - at) for at, value in enumerate(values)]
        steps = [_step(_LOAD, _ARGUMENTS + 8 * argument), _step(_AND, mask), *found, *end, _load_number()]
        yield _step(_EQUAL, number, otherwise=len(steps))
        yield from steps


def _load_number() -> bytes:
    return _step(_LOAD, _NUMBER)


def _step(code: int, value: int, skip: int = 0, otherwise: int = 0) -> bytes:
    """One ``sock_filter``: how many steps to skip if a comparison holds, and if not."""
    return struct.pack("=HBBI", code, skip, otherwise, value)
