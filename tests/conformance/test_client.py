"""The client that conformance is tested with, driven as the suite drives it: commands, exit codes, files, requests."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.update.publisher import Publisher
from tests.agent.update.site import Site, body, endless, serving
from tests.clocks import at_the_epoch, wrong_clock

CLIENT = Path(__file__).with_name("client.py")
NAME = "digits/1.0.0/manifest.json"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path / "repository")
    made.add(NAME, b"{}")
    made.release()
    return made


@pytest.fixture
def site(publisher: Publisher) -> Iterator[Site]:
    with serving(publisher.folder) as site:
        yield site


class Client:
    """Runs the commands; ``said`` is what the last one wrote to stderr."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.metadata, self.targets, self._site, self.said = folder / "metadata", folder / "targets", site, ""
        self.metadata.mkdir()
        self.targets.mkdir()
        self.environment: dict[str, str] | None = None

    def init(self, root: Path) -> int:
        return self._run("init", str(root))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self._site.url}/metadata", "refresh")

    def download(self, name: str) -> int:
        where = ("--target-base-url", f"{self._site.url}/targets", "--target-dir", str(self.targets))
        return self._run("--metadata-url", f"{self._site.url}/metadata", "--target-name", name, *where, "download")

    def versions(self) -> dict[str, int]:
        """The version of each role that is trusted, by the names that the suite expects."""
        files = self.metadata.glob("*.json")
        return {path.stem: json.loads(path.read_bytes())["signed"]["version"] for path in files}

    def _run(self, *arguments: str) -> int:
        command = [sys.executable, str(CLIENT), "--metadata-dir", str(self.metadata), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=self.environment)
        self.said = done.stderr
        assert "Traceback" not in done.stderr
        return done.returncode


@pytest.fixture
def client(tmp_path: Path, site: Site, publisher: Publisher) -> Client:
    (tmp_path / "client").mkdir()
    made = Client(tmp_path / "client", site)
    assert made.init(publisher.folder / "metadata" / "1.root.json") == 0
    return made


def test_init_trusts_the_root_and_asks_nobody(client: Client, site: Site) -> None:
    assert client.versions() == {"root": 1}
    assert site.requests == []


def test_refresh_brings_the_top_level_roles_in_tufs_order(client: Client, site: Site) -> None:
    assert client.refresh() == 0
    assert client.versions() == {"root": 1, "timestamp": 3, "snapshot": 3, "targets": 3}
    files = ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json"]
    assert site.requests == [f"/metadata/{file}" for file in files]


def test_a_rotated_root_is_followed(client: Client, publisher: Publisher) -> None:
    publisher.rotate("root", "timestamp")
    publisher.rotate("targets")
    publisher.release()
    assert client.refresh() == 0
    assert client.versions()["root"] == 3


def test_an_old_copy_is_refused_and_changes_nothing(client: Client, publisher: Publisher, tmp_path: Path) -> None:
    shutil.copytree(publisher.folder, tmp_path / "old")
    publisher.release()
    assert client.refresh() == 0
    trusted = client.versions()
    shutil.rmtree(publisher.folder)
    shutil.copytree(tmp_path / "old", publisher.folder)
    assert client.refresh() == 1
    assert client.said.startswith("BadVersionNumberError: New timestamp version 3 must be >= 4")
    assert client.versions() == trusted


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_has_expired_is_refused(client: Client, publisher: Publisher, role: str) -> None:
    publisher.release(expired=(role,))
    assert client.refresh() == 1
    assert client.said.startswith("ExpiredMetadataError")


def test_the_device_s_own_rules_are_in_it(client: Client, publisher: Publisher, tmp_path: Path) -> None:
    """A clock in 1970 that has seen a time of signing; and an old copy after the metadata was lost."""
    publisher.signed_at = "2026-01-01T00:00:00Z"
    publisher.release()
    shutil.copytree(publisher.folder, tmp_path / "old")
    publisher.release()
    assert client.refresh() == 0
    client.environment = wrong_clock(tmp_path, at_the_epoch())
    publisher.release(expired=())
    assert client.refresh() == 0
    for role in ("timestamp", "snapshot", "targets"):
        (client.metadata / f"{role}.json").unlink()
    shutil.rmtree(publisher.folder)
    shutil.copytree(tmp_path / "old", publisher.folder)
    assert client.refresh() == 1
    assert "it is an old copy, replayed" in client.said


def test_a_target_is_downloaded_once(client: Client, site: Site) -> None:
    assert client.download(NAME) == 0
    assert [path.read_bytes() for path in client.targets.iterdir()] == [b"{}"]
    assert client.download(NAME) == 0
    assert sum("/targets/" in path for path in site.requests) == 1


def test_a_target_of_a_delegated_role_is_found(client: Client, publisher: Publisher) -> None:
    publisher.delegate("team", "faces/*/*")
    publisher.add("faces/1.0.0/manifest.json", b"{ }", "team")
    publisher.release()
    assert client.download("faces/1.0.0/manifest.json") == 0
    assert client.versions()["team"] == 2


def test_a_target_that_is_not_there_is_an_error(client: Client) -> None:
    assert client.download("digits/9.9.9/manifest.json") == 1
    assert client.said == "PullError: the repository has no target 'digits/9.9.9/manifest.json'\n"


@pytest.mark.parametrize("answer", [body(b"[]"), body(b"{"), endless], ids=["other bytes", "fewer", "endless"])
def test_a_target_of_other_bytes_is_not_kept(client: Client, site: Site, answer: object) -> None:
    site.answers["/targets/"] = answer  # type: ignore[assignment]
    assert client.download(NAME) == 1
    assert list(client.targets.iterdir()) == []
