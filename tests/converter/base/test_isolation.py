"""The command's process and its parent: real children, really killed."""

import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from maas_agent.errors import RuntimeFailure
from maas_converter.base.isolation import isolated, note_step


def test_the_childs_exit_code_is_the_commands():
    assert isolated(lambda: 65) == 65


def test_a_crash_names_the_signal_and_what_was_being_done():
    def crash() -> int:
        note_step("quantizing to int8")
        faulthandler.disable()  # pytest's, which would print where
        os.kill(os.getpid(), signal.SIGSEGV)
        return 0

    with pytest.raises(RuntimeFailure, match=r"SIGSEGV.*while quantizing to int8; nothing was written"):
        isolated(crash)


def test_want_of_memory_is_named():
    def killed() -> int:
        note_step("importing large.keras")
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    with pytest.raises(RuntimeFailure, match=r"killed while importing large\.keras, most likely for want of memory"):
        isolated(killed)


def test_what_a_crashed_child_left_in_temporary_folders_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def crash() -> int:
        (Path(tempfile.mkdtemp()) / "scratch").write_text("left")
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGABRT)
        return 0

    with pytest.raises(RuntimeFailure, match="SIGABRT"):
        isolated(crash)
    assert list(tmp_path.iterdir()) == []


def test_killing_the_program_ends_the_child_too(tmp_path):
    program = textwrap.dedent("""
        import os, signal
        from maas_converter.base.isolation import isolated
        def work():
            print(os.getpid(), flush=True)
            signal.pause()
            return 0
        isolated(work)
    """)
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # nobody is left to remove what was killed
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    parent.wait()
    # The child is the pipe's last writer, and it waits for ever unless it is ended: end of file says that it was.
    assert parent.stdout.read() == ""
    parent.stdout.close()


def test_ending_a_conversion_ends_its_importer(digits, tmp_path):
    command = [sys.executable, "-m", "maas_converter", *digits.arguments(tmp_path / "out.maas")]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    importer = _until(lambda: next((pid for pid in _descendants(program.pid) if _is_importer(pid)), None))
    program.terminate()
    assert program.wait(60) == 70
    assert "ended by SIGTERM while importing digits.keras" in program.stderr.read()
    program.stderr.close()
    _until(lambda: not _is_importer(importer))
    assert not (tmp_path / "out.maas").exists()


def _until(condition):
    """What ``condition`` returns once that is true; fails after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come true within a minute")


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(each for child in children for each in _descendants(child))]


def _is_importer(pid: int) -> bool:
    """Whether it runs; what is dead and not yet reaped has no command line."""
    try:
        return b"maas_converter.importers" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
