"""Confined processes of tests: programs that attack, as root and as somebody else, and kernels that can do less."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import maas_agent
from maas_agent.confinement.access import Access, Lack
from maas_agent.confinement.confine import command, offered

HOLDS_ALL = not offered(Access()).lacking
needs_confinement = pytest.mark.skipif(
    not HOLDS_ALL, reason=f"this kernel cannot confine a process: {offered(Access()).sentence()}"
)

_NOBODY = 65534
_AS_NOBODY = (
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--inh-caps=-all"),
    "--bounding-set=-all",
)
_SAME_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

WITHOUT_LANDLOCK, WITHOUT_SECCOMP = "landlock_create_ruleset", "seccomp"
_OLDER = """
import runpy, struct, sys
from maas_agent.confinement import calls, filters, kernel
calls_refused, _, *sys.argv[1:] = sys.argv[1:]
machine = calls.machine()
numbers = {"landlock_create_ruleset": 444, "seccomp": filters._SECCOMP[machine.column]}
step = lambda *values: struct.pack("=HBBI", *values)
program = step(0x20, 0, 0, 0)
for name in calls_refused.split(","):
    program += step(0x15, 0, 1, numbers[name]) + step(0x06, 0, 0, 0x00050000 | 38)
kernel.prctl("PR_SET_NO_NEW_PRIVS", 38, 1)
filters.install_program(program + step(0x06, 0, 0, 0x7FFF0000), machine)
runpy.run_module("maas_agent.confinement", run_name="__main__", alter_sys=True)
"""
"""An older kernel: it answers ENOSYS to some calls. No simulation: a filter before the one that is tried."""


def users() -> list[str]:
    """Whom processes can be run as: ``self``, and ``nobody`` where that is somebody else."""
    can_change = os.geteuid() == 0 and shutil.which("setpriv") is not None and _python_of_nobody() is not None
    return ["self", "nobody"] if can_change else ["self"]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and change, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="maas-confined-") as made:
        folder = Path(made).resolve()
        folder.chmod(0o777)
        yield folder


def run(
    access: Access,
    program: str,
    *arguments: str,
    user: str = "self",
    lacking: Iterable[Lack] = (),
    refused: Iterable[str] = (),
) -> "subprocess.CompletedProcess[str]":
    """Run the Python text ``program``, confined, as ``user``, on a kernel that has not the calls ``refused``."""
    with open_folder() as folder:
        (folder / "attacking.py").write_text(program)
        (folder / "older.py").write_text(_OLDER)
        line = command(access, "attacking", arguments, lacking)
        if refused:
            line = [*line[:2], "-m", "older", ",".join(refused), *line[3:]]
        environment = os.environ | {"PYTHONPATH": ":".join([str(folder), *_paths()]), "PYTHONDONTWRITEBYTECODE": "1"}
        if user == "nobody":
            line = [*_AS_NOBODY, str(_python_of_nobody()), *line[1:]]
        return subprocess.run(line, capture_output=True, text=True, cwd="/", timeout=120, env=environment)


def _paths() -> list[str]:
    return [str(Path(maas_agent.__file__ or "").parents[1]), *(path for path in sys.path if path)]


def _python_of_nobody() -> str | None:
    """A Python of our version that nobody in particular may run."""
    for found in (sys.executable, shutil.which(_SAME_VERSION, path="/usr/local/bin:/usr/bin")):
        if found and subprocess.run([*_AS_NOBODY, found, "-c", ""], capture_output=True).returncode == 0:
            return found
    return None
