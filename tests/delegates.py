"""A real external delegate, compiled from ``delegates.c`` when a test wants one; its options choose what it does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("delegates.c")


def build_delegate(folder: Path) -> Path:
    """Compile the delegate into ``folder``."""
    return compiled(_SOURCE, folder / "libtest_delegate.so")


def compiled(source: Path, library: Path) -> Path:
    """A shared library of one C file; skips the test where there is no C compiler (in CI that is an error)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        assert os.environ.get("CI") != "true", "CI needs a C compiler: apt install gcc libc6-dev"
        pytest.skip("there is no C compiler: sudo apt install gcc libc6-dev")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return library
