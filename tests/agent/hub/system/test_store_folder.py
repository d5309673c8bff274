"""The hub's store on a disk that takes nothing: it is taken all the same, and asked at a door that is on no disk."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_agent.errors import ConfigError, UnavailableError
from maas_agent.hub.api import control_client
from maas_agent.hub.api.control_socket import ControlSocket, abstract_name
from maas_agent.hub.system import store_folder
from maas_agent.hub.system.loop import Loop


class Disk:
    """A file system in memory, mounted at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip(f"only root may mount: {done.stderr.decode().strip()}")

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)

    def close(self) -> None:
        subprocess.run(["umount", self.folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_store_that_is_read_only_is_taken_by_one_agent(disk: Disk, has_lock: bool) -> None:
    folder = disk.folder / "store"
    folder.mkdir()
    if has_lock:
        os.close(store_folder.own(folder))
    assert store_folder.alarms(folder) == []
    disk.remount("ro")
    held = store_folder.own(folder)
    with pytest.raises(UnavailableError, match="another maas-agent runs"):
        store_folder.own(folder)
    os.close(held)
    assert store_folder.alarms(folder) == [
        f"the store {folder} is read-only: no update can be taken, and nothing be remembered"
    ]


def test_a_store_that_cannot_be_made_now_may_be_made_later(disk: Disk) -> None:
    """The service manager tries again, unlike after a `ConfigError`."""
    disk.remount("ro")
    with pytest.raises(UnavailableError, match="Read-only file system"):
        store_folder.own(disk.folder / "store")


def test_a_store_where_a_file_is_in_the_way_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(ConfigError, match="cannot use"):
        store_folder.own(tmp_path / "store")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=os.strerror(errno.ELOOP)):
        store_folder.own(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


class Agent:
    """A loop with a control socket, on a thread."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.control = ControlSocket(self.loop, folder, {"status": lambda _request, finish: finish(None, {"a": 1})})
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def close(self) -> None:
        self.loop.call(self.loop.stop)
        self._thread.join()
        self.control.close()
        self.loop.close()


@pytest.mark.parametrize("has_old_socket", [True, False])
def test_an_agent_on_a_read_only_store_is_asked_without_a_disk(disk: Disk, has_old_socket: bool) -> None:
    """Also where one that was killed has left its socket."""
    if has_old_socket:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(disk.folder / "control.sock"))
    disk.remount("ro")
    assert not control_client.runs(disk.folder)
    agent = Agent(disk.folder)
    assert control_client.ask(disk.folder, {"do": "status"}, 30.0) == {"a": 1}
    assert control_client.runs(disk.folder)
    assert _asked_by_another_user(disk.folder) == b""
    agent.close()
    assert not control_client.runs(disk.folder)


def test_a_disk_that_becomes_read_only_is_no_obstacle_at_the_end(disk: Disk) -> None:
    agent = Agent(disk.folder)
    disk.remount("ro")
    assert control_client.ask(disk.folder, {"do": "status"}, 30.0) == {"a": 1}
    agent.close()


def test_somebody_else_who_takes_the_name_is_not_asked(disk: Disk) -> None:
    """Anybody may take a name that is on no disk."""
    program = (
        "import os, socket, sys\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "taken = socket.socket(socket.AF_UNIX)\ntaken.bind(bytes.fromhex(sys.argv[1]))\ntaken.listen()\n"
        "print('taken', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, abstract_name(disk.folder).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"taken\n"
        with pytest.raises(UnavailableError, match="no agent runs here"):
            control_client.ask(disk.folder, {"do": "status"}, 30.0)
        other.communicate()


def _asked_by_another_user(folder: Path) -> bytes:
    """What the agent answers to one who is neither its user nor root."""
    program = (
        "import os, socket, sys\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "door = socket.socket(socket.AF_UNIX)\ndoor.connect(bytes.fromhex(sys.argv[1]))\n"
        "try:\n    door.sendall(b'{\"do\": \"status\"}\\n')\n    print(door.recv(100).decode(), end='')\n"
        "except OSError:\n    pass\n"
    )
    command = [sys.executable, "-c", program, abstract_name(folder).hex()]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


def test_a_store_that_was_open_to_others_is_closed_and_another_folder_is_not(tmp_path: Path) -> None:
    """One that was made by hand is 0755; a folder with other things in it is somebody's for other things too."""
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(0o755)
    os.close(store_folder.own(folder))
    for name in ("outbox.db-wal", "marks.json.damaged", ".desired.json.7.new", "device.key", "lost+found"):
        (folder / name).touch()
    told = store_folder.left_open(folder)
    assert told is not None and "(mode 0755)" in told[0] and told[1] == f"chmod o-rwx {folder}"
    assert store_folder.close_to_others(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750 and store_folder.left_open(folder) is None
    folder.chmod(0o755)
    (folder / "holiday.jpeg").touch()
    assert not store_folder.close_to_others(folder)
    (folder / "holiday.jpeg").unlink()
    folder.chmod(0o1777)
    assert not store_folder.close_to_others(folder) and stat.S_IMODE(folder.stat().st_mode) == 0o1777
