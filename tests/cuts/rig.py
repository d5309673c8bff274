"""One agent whose store is copied, cut and looked at, again and again."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.update.store import Store
from tests.bundles import samples
from tests.cuts.disk import Change, read_log
from tests.system.console import Console
from tests.system.device import Device, wait_until

SAMPLE = samples(1)[0].tobytes()
SOURCE = Path(__file__).with_name("cuts.c")


def compiled(folder: Path) -> Path:
    """The library, made by the machine's own compiler."""
    library = folder / "libcuts.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library


class Rig:
    """A device that runs from a copy of ``prepared`` each time."""

    def __init__(self, device: Device, console: Console, library: Path, prepared: Path | None) -> None:
        self.device, self.console, self._library, self._prepared = device, console, library, prepared
        self._folder = device.folder
        self.saved = self._folder / "saved"

    @property
    def state(self) -> dict[str, Any]:
        """What the store remembers of the pipeline."""
        path = self.device.store / "pipelines" / "digits.json"
        return (
            msgspec.json.decode(path.read_bytes()) if path.exists() else {"active": None, "update": {"state": "init"}}
        )

    def run_until(self, at: int, how: str = "kill", refusals: int = 1) -> None:
        """Start afresh, with the cut at change ``at``."""
        shutil.rmtree(self.device.store, ignore_errors=True)
        if self._prepared is not None:
            shutil.copytree(self._prepared, self.device.store, symlinks=True)
        shutil.rmtree(self.saved, ignore_errors=True)
        self.saved.mkdir()
        (self._folder / "log").write_bytes(b"")
        (self._folder / "counter").write_bytes(bytes(8))
        self.console.forget()
        self.device.start(
            {
                "LD_PRELOAD": str(self._library),
                "CUTS_FOLDER": str(self.device.store),
                "CUTS_COUNTER": str(self._folder / "counter"),
                "CUTS_LOG": str(self._folder / "log"),
                "CUTS_SAVED": str(self.saved),
                "CUTS_AT": str(at),
                "CUTS_HOW": how,
                "CUTS_REFUSALS": str(refusals),
            }
        )

    @property
    def changes(self) -> list[Change]:
        """What was changed in this run."""
        return read_log(self._folder / "log")

    def wait_for_the_cut(self, ended: Any) -> bool:
        """Whether the agent was cut; ``False`` if it came to its end (``ended`` holds) before."""
        wait_until(lambda: self.device.has_ended or ended(), "neither a cut nor an end")
        if self.device.has_ended:
            self.device.wait()
            return True
        self.device.stop()
        return False

    def hold(self) -> None:
        """What the state says is active is here, whole."""
        active = self.state["active"]
        if active is not None:
            store = Store(self.device.store)
            for digest, size in store.needs(active["digest"]).items():
                assert store.has(digest, size), f"blob {digest} of the active bundle is gone or damaged"

    def comes_back(self, versions: set[str], ends_on: str) -> str:
        """Start without the library: it serves one of ``versions`` and ends on another one; returns the first."""
        self.console.forget()
        self.device.start()
        state = self.console.wait("maas/dev/digits/state", lambda s: s["serving"]).document
        first = self.console.ask("dev", "digits", SAMPLE, "first")
        assert first["version"] in versions and "result" in first, (first, state)
        self.console.wait(
            "maas/dev/digits/state",
            lambda s: (
                s["serving"]
                and s["active"]
                and s["active"]["version"] == ends_on
                and s["update"]["state"] in ("active", "failed")
            ),
        )
        assert self.console.ask("dev", "digits", SAMPLE, "last")["version"] == ends_on
        assert self.device.stop() == 0
        self.hold()
        return str(first["version"])
