"""``maas-agent enroll``: where the key is, that it is made once, and what is in the way."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.bundle.sealed import read_key, recipient_id
from maas_agent.commands.enroll import enroll
from maas_agent.config import load_config
from maas_agent.errors import BundleError, UnavailableError


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def configured(tmp_path: Path, key: str = "") -> Path:
    """The configuration of a device whose store is there."""
    (tmp_path / "store").mkdir(exist_ok=True)
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[device]\nid = "Halle 3"\n{key}\n[broker]\nurl = "mqtt://localhost"\n[store]\npath = "{tmp_path / "store"}"\n'
    )
    return path


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, key = configured(tmp_path), tmp_path / "store" / "device.key"
    assert enroll(config, as_json=True) == 0
    first, made = json.loads(capsys.readouterr().out), key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert first["made"] and first["key"] == str(key) and first["device"] == "Halle 3"
    assert first["recipient"] == recipient_id(read_key(key).public_key().public_bytes_raw())
    assert enroll(config, as_json=False) == 0
    printed = capsys.readouterr()
    assert printed.out == first["line"] + "\n" and printed.err == ""
    assert key.read_bytes() == made
    assert not any(line in printed.out for line in made.decode().splitlines())


def test_the_configured_file_comes_before_systemds_and_that_before_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = tmp_path / "credentials"
    handed.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    assert load_config(configured(tmp_path)).device_key == str(tmp_path / "store" / "device.key")
    (handed / "device.key").touch()
    assert load_config(configured(tmp_path)).device_key == str(handed / "device.key")
    own = tmp_path / "own.key"
    assert load_config(configured(tmp_path, f'key = "{own}"')).device_key == str(own)


def test_a_file_that_is_no_key_is_not_replaced(tmp_path: Path) -> None:
    key = tmp_path / "own.key"
    key.write_text("precious")
    with pytest.raises(BundleError, match=r"own\.key is no key"):
        enroll(configured(tmp_path, f'key = "{key}"'), as_json=False)
    assert key.read_text() == "precious"


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    config = configured(tmp_path, f'key = "{tmp_path / "none" / "device.key"}"')
    with pytest.raises(UnavailableError, match=r"there is no folder .*none: start the agent once, or see"):
        enroll(config, as_json=False)


def test_without_the_library_it_says_what_to_type_and_makes_nothing(tmp_path: Path) -> None:
    config = configured(tmp_path)
    call = ["maas-agent", "enroll", "--config", str(config)]
    hidden = "import sys\nsys.modules['cryptography'] = None\n"
    program = f"{hidden}from maas_agent.cli import main\nsys.argv = {call!r}\nsys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 69 and done.stdout == ""
    assert "pip install 'maas-edge[sealed]'" in done.stderr and "Traceback" not in done.stderr
    assert list((tmp_path / "store").iterdir()) == []
