"""What root is asked to do in a store that the agent's user owns: nothing outside is changed, whatever lies there."""

import grp
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.checks.store import store as store_finding
from maas_agent.cli import main
from maas_agent.errors import UnavailableError
from maas_agent.host.ownership import strangers
from maas_agent.host.privileges import as_owner_of
from maas_agent.hub.api import control_client
from maas_agent.update.store import inbox
from tests.bundles import make_bundle

USER = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: acts in a folder of another user")


class Machine:
    """A store of the agent's user, and a vault that is root's."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.store, self.vault = folder, folder / "home" / "store", folder / "vault"
        self.store.mkdir(parents=True)
        for owned in (self.store.parent, self.store):
            os.chown(owned, USER, USER)
        self.vault.mkdir(mode=0o700)
        (self.vault / "folder").mkdir()
        (self.vault / "file").write_text("root's own")
        (self.vault / "file").chmod(0o600)
        self.bundle = make_bundle(folder / "digits.maas", "digits", "1.0.0")
        self.config = folder / "agent.toml"
        self.config.write_text(
            f'[device]\nid = "d"\n[store]\npath = "{self.store}"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n'
            f'[repository]\nurl = "http://127.0.0.1:1"\nroot = "{folder}/root.json"\n'
            '[[pipeline]]\nname = "p"\nmodel = "digits"\n'
        )

    def link(self, name: str, target: Path) -> None:
        """As the agent's user: folders on the way, and a link."""
        place = self.store / name.replace("PID", str(os.getpid()))  # not in the name of a test: others collect it too
        if not place.parent.exists():
            place.parent.mkdir()
            os.chown(place.parent, USER, USER)
        place.symlink_to(target)
        os.lchown(place, USER, USER)

    def outside(self) -> dict[str, tuple[int, int, int, int, int, bytes]]:
        """Everything that is root's: owner, group, mode, names, time and content."""
        found = {}
        for path in (self.folder, self.vault, *sorted(self.vault.rglob("*"))):
            seen = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
            found[str(path)] = (seen.st_uid, seen.st_gid, seen.st_mode, seen.st_nlink, seen.st_mtime_ns, content)
        return found

    def everything(self) -> None:
        """All that root is told to type, but for what touches no store."""
        for command in (["install", str(self.bundle)], ["enroll"], ["status"], ["rollback", "p"]):
            main([*command, "--config", str(self.config)])
        store_finding(self.store)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which is for its own user only
        yield Machine(Path(folder))


NAMES = [
    "install",
    "install/p.maas",
    "install/.p.maas.part",
    "device.key",
    ".device.key.PID.new",
    "blobs",
    "lock",
    "control.sock",
    "outbox.db",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["folder", "file", "new"])
def test_a_link_of_the_agents_user_leads_root_nowhere(machine: Machine, name: str, target: str) -> None:
    machine.link(name, machine.vault / target)
    before = machine.outside()
    machine.everything()
    assert machine.outside() == before
    assert {path.lstat().st_uid for path in machine.store.rglob("*")} == {USER}


@pytest.mark.parametrize("target", ["folder", "new"])
def test_a_store_that_is_a_link_of_the_agents_user_leads_root_nowhere(machine: Machine, target: str) -> None:
    machine.store.rmdir()
    machine.store.symlink_to(machine.vault / target)
    os.lchown(machine.store, USER, USER)
    before = machine.outside()
    machine.everything()
    assert machine.outside() == before


def test_where_nothing_is_in_the_way_it_is_done_and_the_owners(machine: Machine) -> None:
    before = machine.outside()
    assert main(["install", str(machine.bundle), "--config", str(machine.config)]) == 0
    assert main(["enroll", "--config", str(machine.config)]) == 0
    brought, key = inbox.path_of(machine.store, "p"), machine.store / "device.key"
    assert brought.read_bytes() == machine.bundle.read_bytes()
    for made in (brought, brought.parent, key):
        assert (made.stat().st_uid, made.stat().st_gid) == (USER, USER)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert store_finding(machine.store).passed is True
    assert machine.outside() == before
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_a_bundle_that_only_root_may_read_is_handed_over(machine: Machine) -> None:
    secret = machine.vault / "digits.maas"
    machine.bundle.rename(secret)
    secret.chmod(0o600)
    assert main(["install", str(secret), "--config", str(machine.config)]) == 0
    assert inbox.path_of(machine.store, "p").read_bytes() == secret.read_bytes()


def test_what_was_verified_is_what_is_handed_over(machine: Machine) -> None:
    """Whoever owns the folder of a bundle lets its name lead to a secret, when root has looked."""
    verified = machine.bundle.read_bytes()
    with open_bundle(machine.bundle) as opened:
        machine.bundle.unlink()
        machine.bundle.symlink_to(machine.vault / "file")
        inbox.put(machine.store, "p", opened.file)
    assert inbox.path_of(machine.store, "p").read_bytes() == verified


def test_a_link_in_the_place_of_the_socket_is_not_spoken_to(machine: Machine) -> None:
    """Another service's socket, which root may write to and the agent's user may not."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(machine.vault / "other.sock"))
        other.listen()
        machine.link("control.sock", machine.vault / "other.sock")
        with pytest.raises(UnavailableError, match="no agent runs here"):
            control_client.ask(machine.store, {"do": "status"}, 5.0)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_an_answer_without_end_is_given_up(machine: Machine) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(machine.store / "control.sock"))
        agent.listen()

        def speak() -> None:
            connection, _ = agent.accept()
            with connection, pytest.raises(OSError):
                while True:
                    connection.sendall(b" " * 65536)

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(UnavailableError, match="is no agent"):
            control_client.ask(machine.store, {"do": "status"}, 30.0)
        speaker.join()


def test_a_folder_of_roots_that_others_write_is_not_written_by_root(machine: Machine) -> None:
    os.chown(machine.store, 0, USER)
    os.chown(machine.store.parent, 0, 0)
    machine.store.chmod(0o770)
    before = sorted(machine.store.rglob("*"))
    assert main(["install", str(machine.bundle), "--config", str(machine.config)]) == 69
    assert main(["enroll", "--config", str(machine.config)]) == 69
    assert sorted(machine.store.rglob("*")) == before
    machine.store.chmod(0o750)
    assert main(["enroll", "--config", str(machine.config)]) == 0


def _own(machine: Machine) -> None:
    os.chown(machine.store.parent, 0, 0)


def _by_links(machine: Machine) -> None:
    os.chown(machine.store.parent, 0, 0)
    machine.store.rename(machine.store.with_name("real"))
    machine.store.symlink_to("../home/there")
    machine.store.with_name("there").symlink_to(machine.store.with_name("real"))


@pytest.mark.parametrize("way", [_own, _by_links])
def test_root_is_the_owner_at_the_end_of_the_way(machine: Machine, way: Callable[[Machine], None]) -> None:
    way(machine)
    with as_owner_of(machine.store):
        assert (os.geteuid(), os.getegid()) == (USER, USER)
        assert 0 not in os.getgroups()
        with pytest.raises(PermissionError):
            (machine.vault / "file").read_text()
    assert os.geteuid() == 0


def test_links_in_a_ring_are_an_error(machine: Machine) -> None:
    ring = machine.vault / "ring"
    ring.symlink_to("ring")
    with pytest.raises(OSError, match="Too many levels"), as_owner_of(ring):
        pass


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles here")
def test_the_tmpfiles_give_back_what_is_in_the_store_and_follow_no_link(machine: Machine) -> None:
    """The lines that are shipped, for this store and user."""
    os.chown(machine.store.parent, 0, 0)
    for name in ("file", "folder", "new"):
        machine.link(f"to-{name}", machine.vault / name)
    (machine.store / "blobs").mkdir()
    (machine.store / "blobs" / "left").touch()
    shipped = Path(__file__).parents[3] / "systemd" / "maas-agent.tmpfiles"
    lines = [line for line in shipped.read_text().splitlines() if "/var/lib/maas-agent" in line]
    user, group = pwd.getpwuid(USER).pw_name, grp.getgrgid(USER).gr_name
    names = {"/var/lib/maas-agent": str(machine.store), "maas-agent maas-agent": f"{user} {group}"}
    for shipped_name, name in names.items():
        lines = [line.replace(shipped_name, name) for line in lines]
    (machine.folder / "store.conf").write_text("\n".join(lines) + "\n")
    before = machine.outside()
    subprocess.run(["systemd-tmpfiles", "--create", machine.folder / "store.conf"], check=True)
    assert machine.outside() == before
    assert {path.lstat().st_uid for path in machine.store.rglob("*")} == {USER}


# ----------------------------------------------------------------- what check says is to be typed


def test_what_to_type_gives_away_no_file_that_is_elsewhere_too(machine: Machine) -> None:
    """A hard link that was made while the kernel let users do so."""
    (machine.store / "a b").hardlink_to(machine.vault / "file")
    (found,) = strangers(machine.store, USER)
    assert found.mend.startswith(f"sudo -u nobody rm '{machine.store}/a b'   (it is a hard link")
    (machine.store / "a b").unlink()
    (machine.store / "lock").touch()
    (found,) = strangers(machine.store, USER)
    assert found.mend.endswith(f"sudo chown -hR nobody: {machine.store}")


def test_a_user_without_a_name_can_be_typed(machine: Machine) -> None:
    os.chown(machine.store, 54321, 54321)
    (machine.store / "lock").touch()
    (found,) = strangers(machine.store, 54321)
    assert found.mend.endswith(f"sudo chown -hR 54321 {machine.store}")
