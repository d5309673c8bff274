"""Models that only some devices can open: from publish --encrypt-to to an answer, and nothing plain on a disk."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from maas_converter.cli import main
from maas_converter.publishing.keys import key_files
from tests.bundles import make_bundle, samples
from tests.models import tiny_classifier_tflite
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.updating import check_for_updates

PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.2, max_drift = 1.0 }\n'
SAMPLE = samples(1)[0].tobytes()


@pytest.fixture
def repository(repository: Repository) -> Repository:
    """Its publisher can also encrypt."""
    key_files.create_keys(repository.keys, roles=("content",))
    return repository


@pytest.fixture
def device(make_device: MakeDevice, repository: Repository) -> Device:
    made: Device = make_device(PIPELINE, extra=repository.settings)
    made.store.mkdir()
    return made


def enrolled(
    device: Device, *options: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "maas_agent", "enroll", "--config", str(device.config), *options]
    env = os.environ | (environment or {})
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=False, env=env)


def publish(repository: Repository, tmp_path: Path, version: str, line: str, seed: int = 1) -> Path:
    path = make_bundle(tmp_path / f"digits-{version}.maas", "digits", version, seed, golden_samples=8)
    (tmp_path / "devices").write_text(f"# those at the gate\n{line}\n")
    where = ["--repo", str(repository.folder), "--keys", str(repository.keys)]
    assert main.run(["publish", str(path), *where, "--encrypt-to", str(tmp_path / "devices")]) == 0
    return path


def recipients(repository: Repository, version: str, *options: str) -> int:
    return main.run(
        ["repo", "recipients", str(repository.folder), "digits", version, "--keys", str(repository.keys), *options]
    )


def plain_windows(path: Path) -> list[bytes]:
    """Pieces of the plain model that no other file would have by chance."""
    model = tiny_classifier_tflite(1)
    assert model[500:564] in path.read_bytes()  # the bundle itself is plain: it stays with its publisher
    return [model[at : at + 64] for at in range(0, len(model) - 64, 64) if len(set(model[at : at + 64])) > 20]


def found_in(folder: Path, windows: list[bytes]) -> list[Path]:
    files = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return [path for path in files if any(window in content(path) for window in windows)]


def content(path: Path) -> bytes:
    """Nothing of a socket, or of a file that is gone by now."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:
        return b""


class Watch:
    """Looks for the plain model in every file of some folders, over and over, as a context; ``found`` is where."""

    def __init__(self, windows: list[bytes], *folders: Path) -> None:
        self._windows, self._folders = windows, folders
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.found: set[Path] = set()
        self.looks = 0

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.is_set():
            for folder in self._folders:
                self.found.update(found_in(folder, self._windows))
            self.looks += 1


def test_a_sealed_model_is_served_by_its_device_and_is_nowhere_plain(
    device: Device, repository: Repository, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = enrolled(device)
    assert done.returncode == 0, done.stderr
    key = device.store / "device.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert enrolled(device).stdout == done.stdout  # made once
    bundle = publish(repository, tmp_path, "1.0.0", done.stdout)
    windows = plain_windows(bundle)
    assert len(windows) > 5 and found_in(repository.folder, windows) == []
    with Watch(windows, device.folder, scratch) as watch:  # while it is pulled, tried and served
        device.start({"TMPDIR": str(scratch)})
        console.wait("maas/dev/digits/state", lambda state: state["serving"])
        answer = console.ask("dev", "digits", SAMPLE, "sealed")
    assert watch.looks > 5 and watch.found == set()
    assert found_in(device.folder, windows) == [] and found_in(scratch, windows) == []
    (worker,) = device.workers()
    limits = Path(f"/proc/{worker}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits
    repository.publish("digits", "1.1.0", seed=1)  # the same model for everybody
    check_for_updates(console, "x")
    console.wait("maas/dev/digits/state", lambda s: s["active"] and s["active"]["version"] == "1.1.0")
    assert console.ask("dev", "digits", SAMPLE, "plain")["result"] == answer["result"]
    assert found_in(device.folder, windows) != []  # it would have been found


def test_a_device_that_is_no_recipient_says_so_and_serves_on_and_one_that_becomes_one_takes_it(
    device: Device, repository: Repository, console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.publish("digits", "1.0.0", seed=2)
    mine = enrolled(device, "--json")
    document = json.loads(mine.stdout)
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    other = tmp_path / "other"
    key_files.create_keys(other, roles=("content",))
    publish(repository, tmp_path, "1.1.0", (other / "content.pub").read_text())
    blobs = {path.name: path.read_bytes() for path in (repository.folder / "blobs").iterdir()}
    assert check_for_updates(console, "no")["status"] == "failed"
    reason = console.wait("maas/dev/digits/state", lambda s: s["update"]["state"] == "failed").document["update"][
        "reason"
    ]
    assert "is sealed for 2 recipients" in reason and "maas-agent enroll" in reason
    assert console.ask("dev", "digits", SAMPLE, "on")["version"] == "1.0.0"
    (tmp_path / "mine").write_text(document["line"])
    assert recipients(repository, "1.1.0", "--add", str(tmp_path / "mine")) == 0
    assert {path.name: path.read_bytes() for path in (repository.folder / "blobs").iterdir()} == blobs
    check_for_updates(console, "yes")
    console.wait("maas/dev/digits/state", lambda s: s["active"] and s["active"]["version"] == "1.1.0")
    assert console.ask("dev", "digits", SAMPLE, "now")["version"] == "1.1.0"
    # And taken off the list: the next version of the delivery has no copy for it.
    assert recipients(repository, "1.1.0", "--remove", document["recipient"]) == 0
    capsys.readouterr()
    assert recipients(repository, "1.1.0", "--json") == 0
    left = json.loads(capsys.readouterr().out)["recipients"]
    assert len(left) == 2 and document["recipient"] not in left
    assert {path.name: path.read_bytes() for path in (repository.folder / "blobs").iterdir()} == blobs
    assert main.run(["repo", "verify", str(repository.folder)]) == 0


def test_a_sealed_blob_that_was_changed_on_the_card_is_not_loaded(
    device: Device, repository: Repository, console: Console, tmp_path: Path
) -> None:
    publish(repository, tmp_path, "1.0.0", enrolled(device).stdout)
    device.start()
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    device.stop()
    for path in (device.store / "blobs").iterdir():
        data = bytearray(path.read_bytes())
        if not data.startswith(b"{"):
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    console.forget()
    device.start()
    wait_until(lambda: "does not open: it was changed" in device.log(), "the reason is not said")
    assert not console.wait("maas/dev/digits/state").document["serving"]


def test_a_group_may_share_a_key_and_systemd_may_hand_it_over(
    device: Device, make_device: MakeDevice, repository: Repository, console: Console, tmp_path: Path
) -> None:
    """One line is for both devices; the second one is handed the first one's key."""
    other = make_device(PIPELINE, "other", extra=repository.settings)
    line = enrolled(device).stdout
    publish(repository, tmp_path, "1.0.0", line)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "device.key").write_bytes((device.store / "device.key").read_bytes())
    handed = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert enrolled(other, environment=handed).stdout.split()[2] == line.split()[2]
    device.start()
    other.start(handed)
    for name in ("dev", "other"):
        console.wait(f"maas/{name}/digits/state", lambda state: state["serving"])
        assert console.ask(name, "digits", SAMPLE, "x")["version"] == "1.0.0"
    assert not (other.store / "device.key").exists()


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("", 64, "--encrypt-to names nobody"),
        ("maas-device gate-1 nonsense", 65, "line 1: this is not what 'maas-agent enroll' prints"),
        ("ssh-ed25519 AAAA me@here", 65, "line 1: this is not what 'maas-agent enroll' prints"),
        ("maas-device gate-1 AAAA", 65, "line 1: this is not what 'maas-agent enroll' prints"),
    ],
)
def test_recipients_that_are_none_are_refused(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, code: int, reason: str
) -> None:
    (tmp_path / "devices").write_text(line)
    bundle = make_bundle(tmp_path / "digits.maas")
    where = ["--repo", str(repository.folder), "--keys", str(repository.keys)]
    assert main.run(["publish", str(bundle), *where, "--encrypt-to", str(tmp_path / "devices")]) == code
    assert reason in capsys.readouterr().err
    repository.publish("digits", "1.0.0", seed=0)
    assert recipients(repository, "1.0.0") == 65
    assert "is not sealed" in capsys.readouterr().err
