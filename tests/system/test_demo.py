"""`make demo` holds what it says, and Ctrl-C at any time leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.device import alive, wait_until

DEMO = Path(__file__).parents[2] / "examples" / "digits" / "demo.py"


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


def test_everything_holds(tmp_path: Path) -> None:
    demo = start(tmp_path)
    _, said = demo.communicate(timeout=300)
    assert demo.returncode == 0, said
    assert "everything held" in said
    assert list(tmp_path.iterdir()) == []


def command_of(pid: int) -> str:
    """The command line of a process that still runs."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("moment", ["", "published digits 1.0.0", "serves digits 1.0.0"])
def test_an_interrupt_ends_every_process_and_removes_every_file(tmp_path: Path, moment: str) -> None:
    demo = start(tmp_path)
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
    assert list(tmp_path.iterdir()) == []
