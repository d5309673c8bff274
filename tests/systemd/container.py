"""A booted container: Debian with a real systemd, in namespaces that end with the process that started them.

The tree stays as it is: what is written goes into memory, and is gone with the container. The container has a network
of its own, which is its loopback; a thread of this process may open its sockets there (`Container.network`).
"""

import ctypes
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.trees.debian import ENVIRONMENT, Tree, namespaces

_BOOT_S = 60.0
_COMMAND_S = 120.0
_EMPTY_S = 5.0
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_LEFT = ("payload", "supervisor")
"""The cgroups that systemd-nspawn makes below ours, and does not remove."""


class Container:
    """Boots at once; use it as a context."""

    def __init__(self, tree: Tree, log: Path) -> None:
        self._log = log
        _remove_groups()  # of one that was killed
        # Where a systemd runs outside, it gives the container a unit; else it stays in our cgroup.
        place = [] if Path("/run/systemd/system").is_dir() else ["--keep-unit"]
        boot = ["systemd-nspawn", "--directory", str(tree.root), "--volatile=overlay", "--register=no", *place]
        unified = ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*namespaces("--mount-proc"), *unified, *boot, "--private-network", "--console=pipe", "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            self._init = self._booted()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """Its files, as seen from here."""
        return Path(f"/proc/{self._init}/root")

    def run(self, *command: str, given: str = "", fails: bool = False) -> str:
        """Run a command inside, which has to succeed (or, with ``fails``, to fail); what it prints."""
        done = subprocess.run(
            [*self._entered(), *command], input=given, capture_output=True, text=True, timeout=_COMMAND_S
        )
        assert (done.returncode != 0) == fails, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def script(self, lines: str) -> str:
        """Run lines of a shell script inside; each has to succeed."""
        return self.run("sh", "-euc", lines)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside."""
        self.run("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path, given=text)

    @contextmanager
    def network(self) -> Iterator[None]:
        """What this thread connects or binds meanwhile, it does inside."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{self._init}/ns/net").open() as theirs:
            _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    def close(self) -> None:
        """End it, and all that runs in it, whatever state it is in."""
        self._process.kill()
        self._process.wait()
        _remove_groups()

    def _booted(self) -> int:
        """The process id of its systemd, when that has started everything."""
        deadline = time.monotonic() + _BOOT_S
        while True:
            init = self._find_init()
            if init is not None:
                self._init = init
                state = subprocess.run([*self._entered(), "systemctl", "is-system-running"], capture_output=True)
                if state.stdout.strip() in (b"running", b"degraded"):
                    return init
            assert self._process.poll() is None, f"the container did not start:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"the container is not up:\n{self._log.read_text()}"
            time.sleep(0.05)  # nothing to wait on: it is not registered anywhere

    def _find_init(self) -> int | None:
        """unshare has one child, systemd-nspawn, which has one, the systemd inside."""
        pid = self._process.pid
        for wanted in ("systemd-nspawn", "systemd"):
            children = Path(f"/proc/{pid}/task/{pid}/children")
            found = [child for child in _words(children) if _words(Path(f"/proc/{child}/comm")) == [wanted]]
            if len(found) != 1:
                return None
            pid = int(found[0])
        return pid

    def _entered(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        return ["nsenter", "--target", str(self._init), *spaces, "--wd=/", "--", "env", "-i", *variables]


def _words(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().split()
    return []


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _remove_groups() -> None:
    """Those that a container leaves in our own cgroup: empty, but there."""
    for group in (folder / name for folder in _own_groups() for name in _LEFT):
        deadline = time.monotonic() + _EMPTY_S
        while group.is_dir() and time.monotonic() < deadline:
            try:
                for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                    below.rmdir()
                group.rmdir()
            except OSError:
                time.sleep(0.02)  # what was killed leaves it in a moment


def _own_groups() -> list[Path]:
    """Our groups in the hierarchies that systemd uses: the unified one, and its own of version 1."""
    paths = dict(re.findall(r"^\d+:([^:]*):(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE))
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        name = "" if kind == "cgroup2" else "name=systemd"
        if name in paths and (kind == "cgroup2" or (kind == "cgroup" and name in options.split(","))):
            found.append(Path(where) / paths[name].lstrip("/"))
    return [folder for folder in found if os.access(folder, os.W_OK)]
