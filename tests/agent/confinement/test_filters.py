"""The filter of each machine, run as the kernel runs it: two of the three are not at hand."""

import ctypes
import errno
import os
import struct

import pytest

from maas_agent.confinement import calls
from maas_agent.confinement.access import Access
from maas_agent.confinement.filters import program_for

MACHINES = {"x86-64": calls._X86_64, "ARM64": calls._ARM64, "ARM": calls._ARM}
ALLOWED, KILLED = "allowed", "killed"


@pytest.fixture(params=MACHINES)
def machine(request):
    return MACHINES[request.param]


def judged(program: bytes, audit: int, number: int, *arguments: int) -> str | int:
    """What a program of the kernel's classic BPF says of a call: ``allowed``, ``killed``, or an errno."""
    words = struct.pack("=iIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = value = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", words, operand)
            case 0x54:
                value &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += yes if value == operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x06:
                kind = operand & 0xFFFF0000
                return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(kind, operand & 0xFFFF)


def answers(machine, access: Access, name: str, *arguments: int, landlock: int = 6) -> str | int:
    number = calls.number(name, machine)
    assert number is not None
    return judged(b"".join(program_for(access, machine, landlock)), machine.audit, number, *arguments)


def test_the_program_is_one_that_the_kernel_takes(machine):
    """At most 4096 steps (BPF_MAXINSNS), every way through it ends."""
    program = b"".join(program_for(Access(), machine, 1))
    assert len(program) % 8 == 0
    assert len(program) // 8 < 1000
    ends = [struct.unpack_from("=HBBI", program, at)[0] == 0x06 for at in range(0, len(program), 8)]
    for at in range(0, len(program), 8):
        code, yes, no, operand = struct.unpack_from("=HBBI", program, at)
        reach = max(yes, no) if code in (0x15, 0x35) else operand if code == 0x05 else 0
        assert at // 8 + 1 + reach < len(ends) or ends[at // 8]


def test_numbers_of_another_machine_end_the_process(machine):
    program = b"".join(program_for(Access(), machine, 6))
    for other in MACHINES.values():
        assert (judged(program, other.audit, 0) == KILLED) == (other != machine)
    assert judged(program, 0x40000003, 0) == KILLED  # the 32-bit calls of a PC


def test_calls_that_came_later_are_not_there(machine):
    program = b"".join(program_for(Access(), machine, 6))
    assert judged(program, machine.audit, calls.NEWEST + 1) == errno.ENOSYS
    assert judged(program, machine.audit, 0x40000000 + 59) == (ALLOWED if machine.is_arm else errno.ENOSYS)
    assert judged(program, machine.audit, 0xF0005) == (ALLOWED if machine.is_arm else errno.ENOSYS)  # ARM: set_tls


@pytest.mark.parametrize(
    ("name", "arguments", "confined", "free"),
    [
        ("socket", (2,), errno.EPERM, ALLOWED),
        ("socket", (17,), errno.EPERM, errno.EPERM),  # AF_PACKET: all that is on the wire
        ("connect", (3,), errno.EPERM, ALLOWED),
        ("listen", (3,), errno.EPERM, errno.EPERM),
        ("socketpair", (1, 1 | 0o2000000), ALLOWED, ALLOWED),  # with SOCK_CLOEXEC
        ("socketpair", (1, 2), errno.EPERM, errno.EPERM),
        ("execve", (), errno.EPERM, ALLOWED),
        ("clone", (0x11,), errno.EPERM, ALLOWED),  # SIGCHLD: a process
        ("clone", (0x3D0F00,), ALLOWED, ALLOWED),  # a thread
        ("clone", (0x10000011,), errno.EPERM, errno.EPERM),  # in a user namespace
        ("clone3", (), errno.ENOSYS, errno.ENOSYS),
        ("kill", (1, 9), errno.EPERM, ALLOWED),
        ("kill", (os.getpid(), 9), ALLOWED, ALLOWED),
        ("tgkill", (os.getpid(), 7, 9), ALLOWED, ALLOWED),
        ("tgkill", (os.getppid(), 7, 9), errno.EPERM, ALLOWED),
        ("ioctl", (0, 0x5412), errno.EPERM, errno.EPERM),
        ("ioctl", (0, 0x5413), ALLOWED, ALLOWED),  # the size of a terminal
        ("prlimit64", (0,), ALLOWED, ALLOWED),
        ("prlimit64", (1,), errno.EPERM, errno.EPERM),
        ("fcntl", (3, 8, 1), errno.EPERM, ALLOWED),
        ("fcntl", (3, 2, 1), ALLOWED, ALLOWED),
        ("memfd_create", (), errno.EPERM, ALLOWED),
        ("fchmod", (), errno.EPERM, ALLOWED),
        ("ptrace", (), errno.EPERM, errno.EPERM),
        ("io_uring_setup", (), errno.EPERM, errno.EPERM),
        ("openat", (0, 0, os.O_TRUNC), ALLOWED, ALLOWED),
    ],
)
def test_a_call_is_judged_by_what_the_process_may(machine, name, arguments, confined, free):
    everything = Access(network=True, programs=True, attributes=True, shared_memory=True)
    assert answers(machine, Access(), name, *arguments) == confined
    assert answers(machine, everything, name, *arguments) == free


def test_memory_that_others_can_map_is_told_by_its_flags(machine):
    name = "mmap2" if machine.is_arm else "mmap"
    outcomes = [answers(machine, Access(), name, 0, 4096, 3, flags) for flags in (0x22, 0x21, 0x01, 0x02)]
    assert outcomes == [ALLOWED, errno.EPERM, ALLOWED, ALLOWED]  # private, shared; of a file: shared, private


def test_before_landlock_held_it_the_filter_holds_emptying(machine):
    assert answers(machine, Access(), "openat", 0, 0, os.O_TRUNC, landlock=2) == errno.EPERM
    assert answers(machine, Access(), "openat", 0, 0, os.O_TRUNC | os.O_WRONLY, landlock=2) == ALLOWED
    assert answers(machine, Access(), "truncate", landlock=2) == errno.EPERM
    assert answers(machine, Access(), "truncate", landlock=3) == ALLOWED


def test_the_numbers_are_those_of_libseccomp(machine):
    """Another table of the same; those of calls that are younger than it are not compared."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed")
    resolve = library.seccomp_syscall_resolve_name_arch
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    resolved = {name: resolve(machine.audit, name.encode()) for name in calls._numbers()}
    known = {name: number for name, number in resolved.items() if number >= 0}
    assert len(known) > 90
    assert {name: calls.number(name, machine) for name in known} == known


def test_a_process_without_a_network_may_hear_what_is_plugged_in_and_nothing_else(machine):
    """USB libraries ask for a netlink socket of the kernel's events, and do not start without."""
    stick = Access(hotplug=True)
    assert answers(machine, stick, "socket", 16, 3, 15) == answers(machine, stick, "bind", 3) == ALLOWED
    others = [(16, 3, 0), (2, 1, 0), (1, 1, 0), (2, 1, 15)]  # of routes, TCP, local
    assert {answers(machine, stick, "socket", *other) for other in others} == {errno.EPERM}
    assert answers(machine, stick, "connect", 3) == answers(machine, stick, "listen", 3) == errno.EPERM


def test_who_reaches_the_network_need_not_reach_the_processes_of_this_machine(machine):
    remote = Access(network=True, local_sockets=False)
    assert answers(machine, remote, "socket", 1, 1, 0) == errno.EPERM
    assert answers(machine, remote, "socket", 2, 1, 0) == answers(machine, remote, "socket", 10, 2, 0) == ALLOWED
