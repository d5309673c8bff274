"""The scripts that prepare a machine for the tests look for what the tests load, on a machine with anything on it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SCRIPT = "ensure-accelerators"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The script beside an installer that only says what it was asked for."""
    shutil.copy(ROOT / "scripts" / SCRIPT, tmp_path)
    (tmp_path / "install-packages").write_text('#!/bin/sh\nshift\necho "$@"\n')
    (tmp_path / "install-packages").chmod(0o755)
    return tmp_path


def asked_for(scripts: Path, loads: bool) -> set[str]:
    """The packages it asks for where Python can load the Vulkan loader, or cannot."""
    python = scripts / "python"
    python.write_text(f"#!/bin/sh\ncase $2 in *libvulkan.so.1*) exit {0 if loads else 1};; esac\nexit 2\n")
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python)}
    done = subprocess.run([scripts / SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_vulkan_loader_that_nobody_can_load_is_none(scripts: Path) -> None:
    """Debian's chromium has one in a folder of its own, and was taken for the loader."""
    assert "libvulkan1" in asked_for(scripts, loads=False)
    assert "libvulkan1" not in asked_for(scripts, loads=True)
