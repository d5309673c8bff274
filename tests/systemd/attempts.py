#!/usr/bin/python3
"""Tries everything that a service should not do, and what the agent has to: run by it as the program of a source.

It leaves ``{name: "done", or why not}`` in the state directory, prints one sample, and waits to be ended.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

STATE = Path("/var/lib/maas-agent")
SECRET = Path("/run/credentials/maas-agent.service/mqtt-password")
PR_SET_DUMPABLE, CLONE_NEWUSER, CLONE_NEWNET = 4, 0x10000000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """A function of the C library that is to succeed."""
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def run_from(folder):
    """Write a program there and run it."""
    program = folder / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    try:
        program.chmod(0o700)
        subprocess.run([program], check=True)
    finally:
        program.unlink()


def map_program_of(folder):
    """Load code from there, as a library is loaded."""
    file = folder / "library"
    file.write_bytes(bytes(4096))
    try:
        with file.open("rb") as opened:
            mmap.mmap(opened.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE).close()
    finally:
        file.unlink()


def writable_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def set_uid_file():
    file = STATE / "set-uid"
    file.touch()
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


def child_in(folder):
    return lambda: (folder / "attempt").write_text("x") and (folder / "attempt").unlink()


FOLDERS = [
    *(
        "/",
        "/etc",
        "/etc/maas-agent",
        "/etc/systemd/system",
        "/usr/bin",
        "/opt/maas-edge",
        "/var",
        "/var/log",
        "/var/lib",
    ),
    *("/home", "/root", "/srv", "/boot", "/run", "/dev", "/sys/fs/cgroup"),
]
WRITABLE = [STATE, "/tmp", "/var/tmp", "/run/maas-agent"]
DENIED = {
    **{f"write into {folder}": child_in(Path(folder)) for folder in FOLDERS},
    "change agent.toml": lambda: Path("/etc/maas-agent/agent.toml").open("a").close(),
    "read /etc/shadow": lambda: Path("/etc/shadow").read_text(),
    "read the stored password": lambda: Path("/etc/credstore/maas-agent.mqtt-password").read_text(),
    "change its credential": lambda: SECRET.write_text("x"),
    "see systemd's environment": lambda: Path("/proc/1/environ").read_bytes(),
    "set a kernel parameter": lambda: Path("/proc/sys/kernel/hostname").write_text("x"),
    "open the kernel's log": lambda: Path("/dev/kmsg").open().close(),
    "make a device": lambda: os.mknod(STATE / "device", 0o600 | 0o020000, os.makedev(1, 1)),
    "run a program of its state": lambda: run_from(STATE),
    "run a program of /tmp": lambda: run_from(Path("/tmp")),
    "run a program of /dev/shm": lambda: run_from(Path("/dev/shm")),
    "load a library of its state": lambda: map_program_of(STATE),
    "have memory that is written and run": writable_code,
    "make a set-uid file": set_uid_file,
    "be root": lambda: os.setuid(0),
    "be root by su": lambda: subprocess.run(["su", "-c", "true"], check=True, stdin=subprocess.DEVNULL),
    "change its root": lambda: os.chroot("/tmp"),
    "make a user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "make a network namespace": lambda: call("unshare", CLONE_NEWNET),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "reboot": lambda: call("reboot", 0),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "set the host's name": lambda: socket.sethostname("x"),
    "end systemd": lambda: os.kill(1, signal.SIGTERM),
    "be more important": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "dump core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20)),
    "trace its parent": lambda: call("ptrace", 16, os.getppid(), 0, 0),
    "change its ABI": lambda: call("personality", 0x0008),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close(),
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
    "open a Bluetooth socket": lambda: socket.socket(socket.AF_BLUETOOTH, socket.SOCK_RAW, 1).close(),
    "bind a port of root's": lambda: socket.create_server(("127.0.0.1", 80)).close(),
    "join root's group": lambda: os.setgroups([0]),
}
NEEDED = {
    **{f"write into {folder}": child_in(Path(folder)) for folder in WRITABLE},
    "read its credential": lambda: SECRET.read_text(),
    "read meminfo": lambda: Path("/proc/meminfo").read_text(),
    "read cpuinfo": lambda: Path("/proc/cpuinfo").read_text(),
    "step back": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    "step forward again": lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
    "choose processors": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "bound its memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    "be nicer": lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
    "start programs": lambda: subprocess.run(["/bin/true"], check=True),
    "connect": lambda: socket.create_connection(("127.0.0.1", 1883), 5).close(),
}


def outcome(action):
    try:
        action()
    except subprocess.CalledProcessError as error:
        return f"exit {error.returncode}"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except ValueError as error:  # what Python makes of a limit that may not be raised
        return str(error)
    return "done"


def main():
    found = {
        kind: {name: outcome(action) for name, action in actions.items()}
        for kind, actions in (("needed", NEEDED), ("denied", DENIED))
    }
    (STATE / "attempts.new").write_text(json.dumps(found))
    (STATE / "attempts.new").rename(STATE / "attempts.json")
    print(json.dumps([0] * 64), flush=True)
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
