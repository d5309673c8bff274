"""One agent whose store is copied, cut and looked at, again and again."""

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.staged import Staged
from maas_agent.hub.takeover import state_store
from maas_agent.hub.takeover.pipeline_state import PipelineState
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.repository import high_water_marks
from maas_agent.update.repository.client import Repository as SeenFromTheDevice
from tests.bundles import samples
from tests.cuts.disk import Change, read_log
from tests.cuts.scenarios import Scenario
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository

INPUTS = [sample.tobytes() for sample in samples(60, seed=7)]
SOURCE = Path(__file__).with_name("cuts.c")
STATE = "maas/dev/digits/state"


def compiled(folder: Path) -> Path:
    """The library, made by the machine's own compiler."""
    library = folder / "libcuts.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library


def recording(library: Path, store: Path, folder: Path) -> dict[str, str]:
    """The environment in which the changes below ``store`` are recorded afresh: ``log`` and ``saved`` in ``folder``."""
    shutil.rmtree(folder / "saved", ignore_errors=True)
    (folder / "saved").mkdir()
    (folder / "log").write_bytes(b"")
    (folder / "counter").write_bytes(bytes(8))
    return {
        "LD_PRELOAD": str(library),
        "CUTS_FOLDER": str(store),
        "CUTS_COUNTER": str(folder / "counter"),
        "CUTS_LOG": str(folder / "log"),
        "CUTS_DATA": str(folder / "saved"),
    }


def remembered(store: Path) -> PipelineState:
    """What an agent that starts on this store remembers; nothing of it may be damaged."""
    said: list[str] = []
    state = state_store.load(store, "digits", said.append)
    assert not said, said
    return state


def remembered_as_it_is(store: Path) -> str:
    """The state of the update that the cut fell into, before a start makes something of it."""
    path = state_store.path_of(store, "digits")
    return msgspec.json.decode(path.read_bytes(), type=PipelineState).update.state if path.exists() else "init"


class Rig:
    """A device that runs from a copy of ``prepared`` each time, towards the end of ``scenario``."""

    def __init__(
        self,
        scenario: Scenario,
        device: Device,
        console: Console,
        repository: Repository,
        library: Path,
        prepared: Path | None,
    ) -> None:
        self.scenario, self.device, self.console, self.prepared = scenario, device, console, prepared
        self._repository, self._library, self._folder = repository, library, device.folder
        self.saved = self._folder / "saved"
        self._feeds = itertools.count()

    def run_until(self, at: int, how: str = "kill", refusals: int = 1) -> None:
        """Start afresh, with the cut at change ``at``."""
        self.put(self.prepared)
        self.console.forget()
        cut = {"CUTS_AT": str(at), "CUTS_HOW": how, "CUTS_REFUSALS": str(refusals)}
        self.device.start(recording(self._library, self.device.store, self._folder) | cut)

    def put(self, store: Path | None) -> None:
        """Give the device this store, or an empty one."""
        shutil.rmtree(self.device.store, ignore_errors=True)
        if store is None:
            self.device.store.mkdir()
        else:
            shutil.copytree(store, self.device.store, symlinks=True)

    @property
    def changes(self) -> list[Change]:
        """What was changed in this run."""
        return read_log(self._folder / "log")

    def record(self) -> list[Change]:
        """The changes of an update that nothing disturbs, until the agent has ended."""
        self.run_until(1 << 30)
        assert not self.was_cut(), self.device.log()
        return self.changes

    def was_cut(self) -> bool:
        """Wait until the agent was cut, or came to the end of the update: then it is stopped."""
        with self._fed():
            wait_until(lambda: self.device.has_ended or self._told_the_end(), "neither a cut nor an end")
        if self.device.has_ended:
            self.device.wait()
            return True
        assert self.device.stop() == 0
        return False

    def hold(self, store: Path) -> PipelineState:
        """What the store remembers is here, whole, and may serve; and TUF's client goes on from what is there."""
        state = remembered(store)
        for slot in (state.active, state.previous):
            if slot is not None:
                assert Staged(store, slot.digest).manifest.version == slot.version
        assert state.active is not None or not self.scenario.before
        assert state.active is None or state.active.version in self.scenario.versions
        said: list[str] = []
        high_water_marks.load(store, digest_of(self._repository.root.read_bytes()), said.append)
        assert not said, said
        return state

    def can_look(self, store: Path) -> None:
        """From the metadata that is here, damaged or not, the device gets to what is offered now."""
        access = RepositoryAccess(url=self._repository.url, root=str(self._repository.root))
        offers = SeenFromTheDevice(access, store).refresh().offers
        assert self.scenario.newest in {offer.version for offer in offers}

    def comes_back(self) -> str:
        """Start without the library: the device serves, and ends where the update was going; returns what served."""
        self.console.forget()
        self.device.start()
        self.console.wait(STATE, lambda s: s["serving"])
        first = self.console.ask("dev", "digits", INPUTS[0], "first")
        assert first["version"] in self.scenario.versions and "result" in first, first
        with self._fed():
            wait_until(self._told_the_end, "the update does not end")
        assert self.console.ask("dev", "digits", INPUTS[0], "last")["version"] == self.scenario.ends_on
        assert self.device.stop() == 0
        self.hold(self.device.store)
        return str(first["version"])

    def _told_the_end(self) -> bool:
        newest = [message for message in self.console.on(STATE) if message.payload][-1:]
        return any(self.scenario.has_ended(message.document) for message in newest)

    @contextmanager
    def _fed(self) -> Iterator[None]:
        if not self.scenario.inputs:
            yield
            return
        feed = Feed(self.console, f"fed-{next(self._feeds)}")
        try:
            yield
        finally:
            feed.stop()


class Feed:
    """Publishes inputs, with QoS 1, until told to stop; at most ``window`` are without an answer."""

    def __init__(self, console: Console, prefix: str, window: int = 16) -> None:
        self._console, self._prefix, self._window = console, prefix, window
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def answered(self) -> set[str]:
        """The ids of the inputs that were answered."""
        answers = self._console.on(f"maas/dev/digits/out/{self._prefix}-")
        return {answer.topic.rpartition("/")[2] for answer in answers}

    @property
    def ids(self) -> set[str]:
        """The ids of the inputs that were sent."""
        return {f"{self._prefix}-{number}" for number in range(self.sent)}

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            if self.sent - len(self.answered) < self._window:
                self._console.publish(f"maas/dev/digits/in/{self._prefix}-{self.sent}", INPUTS[self.sent % len(INPUTS)])
                self.sent += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
