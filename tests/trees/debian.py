"""Debian in a folder, for this processor or another one: made by debootstrap once, entered by chroot.

Another processor's programs run through qemu and binfmt.

Every command in a tree runs in namespaces of its own. They end with it, and with the process that started it: then the
kernel unmounts what was mounted for the tree and kills what was left running in it, whatever happened.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

SUITE = "bookworm"
PYTHON = "3.11"
"""What that suite has; the last Python that tflite-runtime was built for."""
COMMAND_S = 600.0
"""The longest that anything in a tree takes: emulated, a compiler needs minutes."""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


class Architecture(NamedTuple):
    """What a tree is, and what a user of such a device installs."""

    machine: str
    """As ``platform.machine()`` says it."""
    bits: int
    wheels: tuple[str, ...]
    """Platform tags of the wheels it takes, the newest first."""
    library: str
    """The interpreter that belongs there."""
    debian: tuple[str, ...] = ()
    """Debian's packages beside Python."""
    provided: frozenset[str] = frozenset()
    """Requirements that Debian's packages fulfil: there is no wheel of them."""
    compiled: frozenset[str] = frozenset()
    """Requirements that pip compiles: there is no wheel of them, and Debian has no package."""


ARCHITECTURES = {
    "amd64": Architecture(
        machine="x86_64",
        bits=64,
        wheels=("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
        library="ai-edge-litert",
    ),
    "arm64": Architecture(
        machine="aarch64",
        bits=64,
        wheels=("manylinux_2_34_aarch64", "manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
        library="ai-edge-litert",
    ),
    "armhf": Architecture(
        machine="armv7l",
        bits=32,
        wheels=("manylinux_2_34_armv7l", "manylinux_2_31_armv7l", "manylinux2014_armv7l"),
        library="tflite-runtime",
        debian=("python3-numpy", "python3-pil", "python3-dev", "gcc", "libc6-dev"),
        provided=frozenset({"numpy", "pillow"}),
        compiled=frozenset({"msgspec"}),
    ),
}


class Tree:
    """One architecture's tree in ``root``; paths inside are absolute and begin with ``/``."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root, self.architecture = name, root, ARCHITECTURES[name]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, which has to succeed."""
        done = subprocess.run(
            self._entered(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S
        )
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}\n{said}"
        return done

    def start(self, log: Path, *command: str) -> "Running":
        """Start a command inside, what it prints in ``log``; returns at once."""
        with log.open("wb") as file:
            process = subprocess.Popen(self._entered(command), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return Running(process, log)

    def place(self, file: Path, folder: str) -> str:
        """Copy a file of the host into a folder inside; its path there."""
        target = self.root / folder.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        return f"{folder}/{file.name}"

    def _entered(self, command: tuple[str, ...]) -> list[str]:
        variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        proc = f"--mount-proc={self.root / 'proc'}"
        return [*namespaces(proc), "chroot", str(self.root), "env", "-i", *variables, *command]


class Running:
    """A command that was started in a tree."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def log(self) -> str:
        """Everything it printed so far."""
        return self._log.read_text()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        # unshare waits for its only child and does not pass signals on.
        child = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        os.kill(int(child), signal.SIGTERM)
        return self._process.wait(COMMAND_S)

    def close(self) -> None:
        """End whatever is left: the namespace goes with unshare, and everything in it."""
        self._process.kill()
        self._process.wait()


def made(name: str, cache: Path, packages: tuple[str, ...] = ()) -> Tree:
    """The tree ``name`` below ``cache`` with Debian's ``packages``, made if it is not there or was made otherwise."""
    tree, asked = Tree(name, cache / name), _packages(name, packages)
    stamp = cache / f"{name}.made"
    if not (tree.root.exists() and stamp.exists() and stamp.read_text() == asked):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(tree.root, ignore_errors=True)
        _debootstrap(tree, asked)
        stamp.write_text(asked)
    return tree


def _packages(name: str, more: tuple[str, ...]) -> str:
    return ",".join(("python3", "python3-venv", *ARCHITECTURES[name].debian, *more))


def _debootstrap(tree: Tree, packages: str) -> None:
    make = ["debootstrap", "--variant=minbase", f"--arch={tree.name}", f"--include={packages}", SUITE, str(tree.root)]
    tree.root.parent.mkdir(parents=True, exist_ok=True)
    path = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run([*namespaces("--mount-proc"), *make, *_mirror()], env=path, capture_output=True, text=True)
    assert done.returncode == 0, f"debootstrap of {tree.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def _mirror() -> list[str]:
    """Where this machine has Debian from, if it has it from somewhere; else debootstrap knows a place."""
    fields = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    return [line.split()[3] for line in listed.splitlines() if line.startswith(f"Debian {SUITE} main ")][:1]


def namespaces(proc: str) -> list[str]:
    """What a command is started by: it ends with us, and everything it started or mounted ends with it."""
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", proc]
