"""The unit is one that systemd takes, and as tight as it is meant to be."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, text

FOLDER = ROOT / "systemd"
UNIT = FOLDER / "maas-agent.service"
EXPOSURE = 15
"""Tenths of what ``systemd-analyze security`` calls exposure: 0 to 100."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run([command, *arguments], capture_output=True, text=True)


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read(UNIT)
    return parser


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # Nothing is installed in /opt here: any program will do.
    there = tmp_path / UNIT.name
    there.write_text(UNIT.read_text().replace("/opt/maas-edge/bin/maas-agent", shutil.which("true") or "/bin/true"))
    found = analyze("verify", there)
    complaints = [line for line in found.stderr.splitlines() if "maas-agent" in line]
    assert (complaints, found.returncode) == ([], 0), found.stderr


def test_the_unit_is_tight() -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", UNIT)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    assert found.returncode == 0, found.stdout.splitlines()[-1]


def test_the_unit_says_what_the_agent_relies_on() -> None:
    service = settings()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    # SIGTERM is for the hub: it drains the workers.
    assert service["KillMode"] == "mixed"
    # EX_CONFIG: only a person can mend that.
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "78")
    assert service["TimeoutStartSec"] == "infinity"


def test_user_folder_and_store_are_the_same_everywhere() -> None:
    service = settings()["Service"]
    assert f"/var/lib/{service['StateDirectory']}" == "/var/lib/maas-agent"
    users = [line.split() for line in text("systemd/maas-agent.sysusers").splitlines() if line.startswith("u ")]
    assert [line[1] for line in users] == [service["User"]] == [service["Group"]]
    folders = [line.split() for line in text("systemd/maas-agent.tmpfiles").splitlines() if line.startswith("d ")]
    owned = {line[1]: (line[2], line[3]) for line in folders}
    assert owned["/var/lib/maas-agent"] == (service["StateDirectoryMode"], service["User"])
    assert "/etc/maas-agent" in owned


def test_the_readme_installs_every_file() -> None:
    assert [path.name for path in FOLDER.iterdir() if path.name not in text("README.md")] == []
