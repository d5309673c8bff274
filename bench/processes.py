"""Processes of a run: started in sessions of their own, observed in /proc, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # every process runs here, so that `-m bench…` is found
_STOP_S = 10.0  # between SIGTERM and SIGKILL


class StartError(Exception):
    """A process ended, or did not become ready in time; the message begins with what it had written."""


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the time of a ``with`` block, and its children no longer than that.

    Its output goes to ``log``. A session of its own keeps the terminal's Ctrl-C from it: it is stopped here.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)


def _environment() -> dict[str, str]:
    """Return this environment, with TensorFlow quiet and on the CPU like everybody else."""
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process, give it time for its children, then kill what is left of its group."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also where a second Ctrl-C cuts the wait short
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_ready(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], timeout_s: float) -> None:
    """Return once ``ready`` holds; raise ``StartError`` if the process ends or ``timeout_s`` pass before."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise StartError(f"{_tail(log)}\nended with {process.returncode}")
        if time.monotonic() > deadline:
            raise StartError(f"{_tail(log)}\nwas not ready within {timeout_s:.0f} s")
        time.sleep(0.05)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def output_of(command: Sequence[str], timeout_s: float) -> bytes:
    """Run a process to its end and return its standard output; an interrupt ends it too."""
    finished = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, timeout=timeout_s, start_new_session=True
    )
    if not finished.stdout:
        raise StartError(f"{finished.stderr.decode()}\n{' '.join(command)}: ended with {finished.returncode}")
    return finished.stdout


def free_port() -> int:
    """Return a TCP port that nobody listens on, on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Return whether somebody accepts connections on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def peak_mb(pid: int | str) -> float:
    """Return the peak resident memory (VmHWM) of a process in MB of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 2)  # the kernel's kB are 1024 bytes
    raise ValueError(f"process {pid} has no VmHWM: it has ended")


def descendants(pid: int) -> list[int]:
    """Return the living children of a process, and theirs."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # The command name, in parentheses, may hold anything: the fields are counted from behind it.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for ancestor in found:
        found += (child for child, parent in parents.items() if parent == ancestor)
    return found[1:]


def command_line(pid: int) -> str:
    """Return a process's arguments, separated by spaces."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
