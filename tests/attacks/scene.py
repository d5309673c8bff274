"""Where attacks are played: a real agent on a real broker, a repository on a real server, and whoever changes it."""

import copy
import fnmatch
import itertools
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import digest_of
from tests.agent.update.device import Device as Puller
from tests.agent.update.site import Site, serving
from tests.attacks.attacker import Attacker
from tests.bundles import samples
from tests.system.console import Console
from tests.system.device import Device, wait_until

ACTIVE, OFFERED = "1.0.0", "1.1.0"
"""What the device runs when the attack begins, and what it would take without it."""

_PIPELINE = (
    '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\n'
    "update = { probation_s = 0.2, max_drift = 1.0, max_latency_ratio = 1000.0 }\n"
)
_REPOSITORY = '[repository]\nurl = "{url}"\nroot = "{root}"\npoll_s = 3600\ntimeout_s = 20.0\n'
_STATE = ("root", "targets", "snapshot", "timestamp", "roles", "parents", "signed")
"""What of a publisher changes with what it signs."""
_CHANGES = (
    "updates/marks.json",
    "updates/pulling.json",
    "pipelines/digits.json",
    "lock",
    "control.sock",
    "desired.json",
    "outbox.db",  # a result whose acknowledgement takes longer than commit_s
)
"""What the agent itself may write in its store: only bundles are looked at file by file, and metadata by signature."""

_ELSEWHERE = (Path("/evil"), Path("/etc/evil"))
"""Where attacks that break out would write to, beside every file called so in the folder of the test."""


class Scene:
    """A device ``dev`` that serves digits 1.0.0, and its publisher's repository on ``site``.

    ``old`` is a copy of the repository from before, with 0.9.0 as the newest; ``folder`` is for what an attack needs.
    ``kept`` are the digests of signed files that may stay though the offer is refused;
    ``brought`` is a file that somebody installs by hand instead; ``says`` is where the device gives its reasons.
    """

    def __init__(self, folder: Path, site: Site, publisher: Attacker, agent: Device, console: Console) -> None:
        self.folder, self.old = folder, folder / "old"
        self.site, self.publisher, self.agent, self.console = site, publisher, agent, console
        self.kept: set[str] = set()
        self.brought: Path | None = None
        self.says: Callable[[], str] = lambda: str(self.state()["update"]["reason"])
        self._honest = folder / "honest"
        self._honestly_brought: Path | None = None
        self._asked = itertools.count()

    @property
    def store(self) -> Path:
        return self.agent.store

    def offer(self, version: str = OFFERED, **made: object) -> str:
        """Publish and release a version, rightly; return its manifest's digest."""
        digest = self.publisher.publish(version, **{"seed": 3} | made)  # type: ignore[arg-type]
        self.publisher.release()
        return digest

    def twin(self) -> Puller:
        """A device of the same history that nobody attacks."""
        store = self.folder / "twin"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.store, store, symlinks=True, ignore=lambda _, names: fnmatch.filter(names, "*.sock"))
        return Puller(store, self.folder / "root.json", self.site.url)

    def restart(self, environment: dict[str, str]) -> None:
        """Switch the device off, and on with these variables. It looks for updates as it starts."""
        self.agent.stop()
        self.console.forget()
        self.agent.start(environment)
        self.console.wait("maas/dev/digits/state", lambda state: state["serving"])

    def with_deadline(self, timeout_s: float) -> None:
        """Switch the device off, and on with this bound for each refresh and download."""
        text = re.sub(r"timeout_s = .*", f"timeout_s = {timeout_s}", self.agent.config.read_text())
        self.agent.config.write_text(text)
        self.restart({})

    def act(self) -> None:
        """Do what brings a bundle: install the file that was brought, or look at the repository."""
        self.install(self.brought) if self.brought else self.look()

    def install(self, bundle: Path) -> None:
        """Install a file by the command line; what that says is what the device says."""
        call = [sys.executable, "-m", "maas_agent", "install", str(bundle), "--config", str(self.agent.config)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
        self.says = lambda: done.stderr

    def by_stick(self) -> None:
        """The repository comes on a USB stick from now on: ``file://``."""
        self.configure(self.site.url, f"file://{self.publisher.folder}")

    def configure(self, old: str, new: str) -> None:
        """Change the configuration, and have looked with that once."""
        self.agent.config.write_text(self.agent.config.read_text().replace(old, new))
        self.restart({})
        self.look()

    def desire(self, serial: int, **wish: object) -> None:
        """What an operator says by the broker, and the device has heard."""
        self.say(msgspec.json.encode({"serial": serial, "models": {"digits": wish}}))

    def say(self, payload: bytes) -> None:
        """Whatever on the topic of the desired state; the device has heard it."""
        self.console.publish("maas/dev/desired", payload, retain=True)
        self.served()  # what was published before has been read by then

    def look(self) -> None:
        """Have the device look for updates, and wait for its answer."""
        topic = f"maas/dev/cmd/update/{next(self._asked)}"
        self.console.publish(topic, '{"status": "init"}', retain=True)
        self.console.wait(topic, lambda answer: answer["status"] in ("successful", "failed"), 60)

    def wait_for(self, version: str) -> None:
        """Until this version serves, and not on trial."""
        self.console.wait(
            "maas/dev/digits/state",
            lambda state: state["active"]["version"] == version and state["update"]["state"] != "probation",
        )

    def state(self) -> dict:  # type: ignore[type-arg]
        """The newest state document."""
        return self.console.wait("maas/dev/digits/state").document

    def served(self) -> str:
        """The version that answers an input now."""
        answer = self.console.ask("dev", "digits", samples(1)[0].tobytes(), f"ask{next(self._asked)}")
        return str(answer["version"])

    def remember(self) -> None:
        """This is the honest repository, to be there again when the attack is over."""
        shutil.copytree(self.publisher.folder, self._honest, symlinks=True)
        self._honestly_brought = self.brought

    def end_attack(self) -> None:
        """The honest repository is back."""
        self.site.answers.clear()
        self.publisher.replace_by(self._honest)
        self.brought = self._honestly_brought

    def files(self) -> dict[str, str]:
        """All files of the device's store, with their digests; links by where they lead."""
        found = {}
        for path in self.store.rglob("*"):
            with suppress(FileNotFoundError):  # a puller that looks again meanwhile renames what it has written
                if path.is_symlink():
                    found[str(path.relative_to(self.store))] = f"-> {path.readlink()}"
                elif path.is_file():
                    found[str(path.relative_to(self.store))] = digest_of(path.read_bytes())
        return found

    def left(self, before: dict[str, str]) -> list[str]:
        """What lies in the device's store of the attack: files that no honest update could have left; or what is gone.

        What broke off may stay: nothing in it is believed, and no more of it is kept than was signed.
        """
        lost = [name for name in before if name.startswith("blobs/") and name not in self.files()]
        unbounded = [name for name in self.strange(before) if not self._is_bounded(name)]
        return unbounded + [name for name in lost if not name.endswith(".part")]

    def strange(self, before: dict[str, str]) -> list[str]:
        """Files that no honest update could have left, in the store or wherever an attack would write to."""
        now = self.files()
        strange = [name for name in now if now[name] != before.get(name) and not self._is_expected(name, now[name])]
        return strange + [str(path) for path in (*_ELSEWHERE, *self.folder.rglob("evil")) if path.exists()]

    def _is_expected(self, name: str, digest: str) -> bool:
        if name.startswith("tuf/"):
            return digest in self.publisher.signed or digest.startswith("-> root_history/")
        if name.startswith("blobs/"):
            return Path(name).name == digest and digest in self._honest_digests() | self.kept
        if name.startswith("deliveries/"):
            return digest in self._honest_digests()
        if name.startswith("install/"):
            return digest in self._honest_digests()  # removed when it was tried
        return name.startswith(_CHANGES)

    def _is_bounded(self, name: str) -> bool:
        part, digest = self.store / name, Path(name).stem[1:]
        honest = [self._honest / "blobs" / digest, *self._honest.glob(f"targets/*/*/{digest}.*.json")]
        return part.suffix == ".part" and any(
            path.is_file() and part.stat().st_size <= path.stat().st_size for path in honest
        )

    def _honest_digests(self) -> set[str]:
        """Of the honest repository's files, or of the file that was brought, and those that they name."""
        files = [path for path in self._honest.rglob("*") if path.is_file() and "metadata" not in path.parts]
        contents = [path.read_bytes() for path in files]
        if self._honestly_brought:
            with zipfile.ZipFile(self._honestly_brought) as archive:
                contents += [self._honestly_brought.read_bytes(), *map(archive.read, archive.namelist())]
        named = (re.findall("[0-9a-f]{64}", data.decode()) for data in contents if data.startswith(b"{"))
        return {digest_of(data) for data in contents}.union(*named)


class Start:
    """What every scene begins with, made once: a repository, and the store of a device that has installed from it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.publisher = folder, Attacker(folder / "repository")
        self.publisher.signed_at = datetime.now(UTC).replace(microsecond=0).isoformat()
        self.publisher.publish("0.9.0", seed=1)
        self.publisher.release()
        shutil.copytree(self.publisher.folder, folder / "old")
        self.publisher.publish(ACTIVE, seed=2)
        self.publisher.release()
        shutil.copy(self.publisher.folder / "metadata" / "root.json", folder / "root.json")

    def copy(self, folder: Path) -> Attacker:
        """All of it in another folder."""
        shutil.copytree(self._folder, folder, symlinks=True, dirs_exist_ok=True)
        publisher = copy.copy(self.publisher)
        publisher.__dict__ |= copy.deepcopy({name: vars(publisher)[name] for name in _STATE})
        publisher.keys = dict(self.publisher.keys)
        publisher.targets, publisher.folder = publisher.roles["targets"], folder / "repository"
        return publisher

    def install(self, broker_url: str, console: Console) -> None:
        """Have a device install 1.0.0, and keep its store."""
        with self.scene(self._folder, self.publisher, broker_url, console):
            pass
        (self._folder / "dev" / "store" / "control.sock").unlink(missing_ok=True)

    @contextmanager
    def scene(self, folder: Path, publisher: Attacker, broker_url: str, console: Console) -> Iterator[Scene]:
        """A scene with the device serving 1.0.0."""
        with serving(publisher.folder) as site:
            repository = _REPOSITORY.format(url=site.url, root=folder / "root.json")
            agent = Device(folder / "dev", broker_url, _PIPELINE, extra=repository)
            agent.start()
            try:
                console.wait("maas/dev/digits/state", lambda state: state["serving"])
                # The look that it takes as it starts must be over, or it sees what is only being made.
                wait_until(
                    lambda: _asked_for(site, "timestamp") and not agent.pullers(), "it does not look for updates"
                )
                yield Scene(folder, site, publisher, agent, console)
            finally:
                agent.close()


def _asked_for(site: Site, what: str) -> bool:
    return any(what in path for path in site.requests)


def matches(expected: str, said: str) -> bool:
    """Whether ``said`` holds the ``expected`` words; ``…`` stands for anything."""
    return re.search(".*".join(map(re.escape, expected.split("…"))), said) is not None
