"""`make demo` holds what it says, and Ctrl-C at any time leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.system.device import alive, wait_until

DEMO = Path(__file__).parents[2] / "examples" / "digits" / "demo.py"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: the agent makes a socket in it, whose name has at most 107 bytes (unix(7))."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def start(folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"TMPDIR": str(folder), "COLUMNS": "120"}
    return subprocess.Popen([sys.executable, DEMO], stderr=subprocess.PIPE, text=True, env=environment)


def descendants(pid: int) -> set[int]:
    """Every process that stems from ``pid``, in whatever session."""
    try:
        children = {int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
    return children.union(*(descendants(child) for child in children)) if children else set()


def test_everything_holds(folder: Path) -> None:
    demo = start(folder)
    _, said = demo.communicate(timeout=300)
    assert demo.returncode == 0, said
    assert "everything held" in said
    assert list(folder.iterdir()) == []


def command_of(pid: int) -> str:
    """The command line of a process that still runs."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("moment", ["", "published digits 1.0.0", "serves digits 1.0.0"])
def test_an_interrupt_ends_every_process_and_removes_every_file(folder: Path, moment: str) -> None:
    demo = start(folder)
    assert demo.stderr is not None
    said: list[str] = []
    while moment and moment not in "".join(said[-1:]):
        said.append(demo.stderr.readline())
        assert said[-1], "".join(said)
    wait_until(lambda: descendants(demo.pid), "nothing has been started")
    started = descendants(demo.pid)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    commands = {pid: command_of(pid) for pid in started}
    wait_until(lambda: not any(alive(pid) for pid in started), f"a process is left, one of {commands}")
    assert list(folder.iterdir()) == []
