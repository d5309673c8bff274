"""Scenarios, played: each from inputs that flow to its account."""

from pathlib import Path

from tests.faults.account import Account
from tests.faults.scenarios import Scenario
from tests.faults.scene import Scene, Setting


class Stage:
    """Keeps the scene of the last setting, in a folder of its own in ``folder``: scenarios of one setting share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scene: Scene | None = None
        self._made = 0

    def play(self, scenario: Scenario, rounds: int) -> Account:
        """Play ``rounds`` of it, and wait until all is at rest. After a failure the next one gets a new scene."""
        scene = self.scene(scenario.setting())
        self._scene = None
        try:
            scene.sender.resume()
            account = scene.settle(scenario.play(scene, rounds))
        except BaseException:
            scene.close()
            raise
        self._scene = scene
        return account

    def scene(self, setting: Setting) -> Scene:
        """One of this setting, at rest."""
        if self._scene is None or self._scene.setting != setting:
            self.close()
            self._made += 1
            self._scene = Scene(self._folder / str(self._made), setting)
        return self._scene

    def close(self) -> None:
        """End what runs."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None
