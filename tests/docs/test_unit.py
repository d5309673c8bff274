"""The unit and its drop-ins are what systemd takes, as tight as they are meant to be, and explained."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, rows, section, text

FOLDER = ROOT / "systemd"
UNIT = FOLDER / "maas-agent.service"
DROP_INS = sorted((FOLDER / "drop-ins").glob("*.conf"))
PAGE = "docs/service.md"
EXPOSURE = 15
"""Tenths of what ``systemd-analyze security`` calls exposure: 0 to 100."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("systemd-analyze")
    if command is None:
        assert os.environ.get("CI") != "true", "CI needs systemd-analyze: apt install systemd"
        pytest.skip("systemd-analyze is not installed: sudo apt install systemd")
    return subprocess.run([command, *arguments], capture_output=True, text=True)


def installed(folder: Path, *drop_ins: Path) -> Path:
    """The unit in a folder of its own, with these drop-ins, as on a device."""
    unit = folder / UNIT.name
    # Nothing is installed in /opt here: any program will do.
    unit.write_text(UNIT.read_text().replace("/opt/maas-edge/bin/maas-agent", shutil.which("true") or "/bin/true"))
    (folder / f"{UNIT.name}.d").mkdir()
    for drop_in in drop_ins:
        shutil.copy(drop_in, folder / f"{UNIT.name}.d")
    return unit


def exposure(unit: Path) -> str:
    """What ``systemd-analyze security`` says of it, such as ``1.2``; fails above the bound."""
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)
    last = (found.stdout.splitlines() or [""])[-1]
    assert found.returncode == 0, last or found.stderr
    (level,) = re.findall(r"Overall exposure level for maas-agent\.service: ([0-9.]+)", last)
    return str(level)


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read(UNIT)
    return parser


def lines(file: Path) -> list[str]:
    """Its settings, as ``Key=value``."""
    return [line for line in file.read_text().splitlines() if re.match(r"[A-Z]\w+=", line)]


@pytest.mark.parametrize("drop_ins", [[], *([path] for path in DROP_INS), DROP_INS], ids=lambda names: len(names))
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, drop_ins: list[Path]) -> None:
    found = analyze("verify", installed(tmp_path, *drop_ins))
    complaints = [line for line in found.stderr.splitlines() if "maas-agent" in line]
    assert (complaints, found.returncode) == ([], 0), found.stderr


def test_the_unit_is_tight_with_each_drop_in_too_and_the_page_says_how_tight(tmp_path: Path) -> None:
    found = {}
    for drop_in in [None, *DROP_INS]:
        folder = tmp_path / (drop_in.stem if drop_in else "none")
        folder.mkdir()
        found[drop_in.name if drop_in else "none"] = exposure(installed(folder, *([drop_in] if drop_in else [])))
    table = {name.strip("`"): level for name, _, _, level in rows(section(PAGE, "## Devices"))}
    assert list(table) == list(found), "the table has a row for each drop-in, by name"
    (measured_with,) = re.findall(r"systemd (\d+)", section(PAGE, "## Devices"))
    if analyze("--version").stdout.split()[1] == measured_with:  # others weigh other things
        assert table == found


def test_a_drop_in_that_systemd_does_not_know_would_be_found(tmp_path: Path) -> None:
    """``systemd-analyze verify`` ends with 0 whatever it says: it is what it says that counts."""
    wrong = tmp_path / "wrong.conf"
    wrong.write_text("[Service]\nDeviceAllowed=char-drm rw\n")
    (tmp_path / "unit").mkdir()
    found = analyze("verify", installed(tmp_path / "unit", wrong))
    assert any("maas-agent" in line and "DeviceAllowed" in line for line in found.stderr.splitlines())


def test_every_line_that_takes_something_away_is_explained() -> None:
    explained = section(PAGE, "## What it may not do")
    service = list(settings()["Service"])
    names = {*service[service.index("NoNewPrivileges") :], "UMask", "LimitCORE"}
    assert {name for name in names if f"`{name}" not in explained} == set()


def test_the_unit_says_what_the_agent_relies_on() -> None:
    service = settings()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    # SIGTERM is for the hub: it drains the workers.
    assert service["KillMode"] == "mixed"
    # EX_CONFIG: only a person can mend that.
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "78")
    assert service["TimeoutStartSec"] == "infinity"
    # Out of SCHED_IDLE again: hub/system/scheduling.py.
    assert service["LimitNICE"] == "+0"


def test_user_folder_and_store_are_the_same_everywhere() -> None:
    service = settings()["Service"]
    assert f"/var/lib/{service['StateDirectory']}" == "/var/lib/maas-agent"
    users = [line.split() for line in text("systemd/maas-agent.sysusers").splitlines() if line.startswith("u ")]
    assert [line[1] for line in users] == [service["User"]] == [service["Group"]]
    folders = [line.split() for line in text("systemd/maas-agent.tmpfiles").splitlines() if line.startswith("d ")]
    owned = {line[1]: (line[2], line[3]) for line in folders}
    assert owned["/var/lib/maas-agent"] == (service["StateDirectoryMode"], service["User"])
    assert "/etc/maas-agent" in owned
    assert owned["/etc/credstore"] == ("0700", "root"), "secrets are systemd's to read, and nobody else's"


def test_secrets_have_the_same_names_everywhere() -> None:
    loaded = [line.removeprefix("LoadCredential=").split(":") for line in lines(UNIT) if "LoadCredential=" in line]
    assert [stored for _, stored in loaded] == [f"maas-agent.{name}" for name, _ in loaded]
    documented = {row[0].strip("`") for row in rows(section(PAGE, "## Secrets"))}
    assert documented == {stored for _, stored in loaded}
    used = re.findall(r"/run/credentials/maas-agent\.service/([\w.-]+)", text("systemd/agent.toml"))
    assert set(used) <= {name for name, _ in loaded}


def test_a_drop_in_gives_devices_one_by_one() -> None:
    for drop_in in DROP_INS:
        given = lines(drop_in)
        if "PrivateDevices=no" in given:
            assert "DevicePolicy=closed" in given, f"{drop_in.name} opens every device"
            assert any(line.startswith("DeviceAllow=") for line in given)


def test_the_readme_installs_every_file() -> None:
    assert [path.name for path in FOLDER.iterdir() if path.name not in text("README.md")] == []


def test_what_processes_confine_themselves_by_is_left_to_them() -> None:
    """The sets of systemd 252 (Debian 12) do not have these calls; without them nothing is confined."""
    allowed = [name for line in lines(UNIT) if re.match("SystemCallFilter=[^~]", line) for name in line[17:].split()]
    wanted = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"}
    assert wanted <= set(allowed) and "@system-service" in allowed
