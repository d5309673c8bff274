"""What is installed in a tree: this project's wheel, and what it requires there, found by pip outside.

pip is slow in an emulated tree, so it downloads here, for the other platform, wherever this machine has its packages
from. Inside, pip resolves and installs from that folder alone: what a device would lack, it lacks.
"""

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.trees.debian import PYTHON, Architecture

ROOT = Path(__file__).parents[2]
_NEEDED_BY_THOSE = ("securesystemslib", "urllib3")
"""What tuf requires: named where pip may not follow requirements, because Debian fulfils some of them."""


def project_wheel(folder: Path) -> Path:
    """Build this project's wheel into a new folder."""
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("maas_edge-*.whl")
    return wheel


def requirements(wheel: Path, architecture: Architecture) -> list[Requirement]:
    """What the wheel requires on that machine, by its markers."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    there = {"platform_machine": architecture.machine, "python_version": PYTHON, "extra": ""}
    listed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    return [entry for entry in listed if entry.marker is None or entry.marker.evaluate(there)]


def download(required: list[Requirement], architecture: Architecture, folder: Path) -> None:
    """Put into ``folder`` what pip needs to fulfil the requirements on that machine."""
    named: dict[str, str] = {canonicalize_name(entry.name): f"{entry.name}{entry.specifier}" for entry in required}
    elsewhere = architecture.provided | architecture.compiled
    wheels = [entry for name, entry in named.items() if name not in elsewhere]
    if not elsewhere:
        _wheels(folder, architecture, *wheels)
        return
    _wheels(folder, architecture, "--no-deps", *wheels, *_NEEDED_BY_THOSE)
    for name in architecture.compiled:
        _pip("download", "--dest", str(folder), "--no-deps", "--no-binary", name, *_constraints(), named[name])
        _wheels(folder, architecture, *_build_requirements(folder, name))


def _build_requirements(folder: Path, name: str) -> list[str]:
    (path,) = folder.glob(f"{name}-*.tar.gz")
    with tarfile.open(path) as archive:
        (member,) = [member for member in archive.getnames() if member.count("/") == 1 and "pyproject.toml" in member]
        file = archive.extractfile(member)
        assert file is not None
        return list(tomllib.loads(file.read().decode())["build-system"]["requires"])


def _wheels(folder: Path, architecture: Architecture, *wanted: str) -> None:
    platforms = [part for tag in architecture.wheels for part in ("--platform", tag)]
    where = ["--dest", str(folder), "--only-binary=:all:", *platforms, "--python-version", PYTHON]
    _pip("download", *where, *_constraints(), *wanted)


def _constraints() -> list[str]:
    """The versions that the other tests run with, so that nobody's release breaks these."""
    return ["--constraint", str(ROOT / "constraints.txt")]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"pip {' '.join(arguments)}\n{done.stderr[-3000:]}"
