"""A network that is away for long while samples go on to come at full rate, from outside and from the device itself."""

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from maas_agent.hub.outbox.journal import NAME
from tests.faults import kinds
from tests.faults.scene import Scene, moment
from tests.faults.sensor import local_account

_BETWEEN = 100
_SLOW_BYTES_PER_S = 20_000
_LIFE_S = 1.0
_KEEPS_NOTHING = 'durability = "none"'
_ID = re.compile(rb'"id":"([a-z0-9]+)-(\d+)"')


def outage(scene: Scene, seconds: int) -> int:
    """The agent's network is away while inputs go on to be sent as fast as before."""
    scene.flow(_BETWEEN)
    scene.sender.window = None
    with kinds.away(scene):
        moment(seconds)
    scene.sender.window = scene.setting.window
    return 1


def jam(scene: Scene, seconds: int) -> int:
    """Results are made faster than the network takes them, while the broker sends whatever it is sent."""
    scene.flow(_BETWEEN)
    scene.sender.window = None
    with kinds.slow(scene, 20_000):
        moment(seconds)
    scene.sender.window = scene.setting.window
    return 1


def crash_loop(scene: Scene, kills: int) -> int:
    """The hub is killed every second while the broker takes results slower than inputs come."""
    scene.flow(_BETWEEN)
    scene.sender.window = None
    with kinds.slow(scene, _SLOW_BYTES_PER_S):
        for _ in range(kills):
            moment(_LIFE_S)
            with kinds.hub_killed(scene):
                pass
    scene.sender.window = scene.setting.window
    return kills


def local_outage(scene: Scene, seconds: int) -> int:
    """The same with a source on the device; the hub is killed meanwhile, with what it has kept on its disk."""
    assert scene.sensor
    scene.until(lambda: _runs(scene), "the sensor's samples are not answered")
    (first,) = _runs(scene)
    with kinds.away(scene):
        moment(seconds / 2)
        waiting = scene.status()["outbox"]["results"]
        if _KEEPS_NOTHING not in scene.setting.outbox:  # nothing of it can have left but to the disk
            scene.until(lambda: scene.status()["outbox"]["on_disk_only"] >= waiting, "what waits is not written")
        with kinds.hub_killed(scene):
            kept = on_disk(scene.device.store)
        moment(seconds / 2)
    owed = {first: max((number for run, number in kept if run == first), default=0)}
    scene.until(lambda: _runs(scene) - owed.keys(), "the samples of the present run are not answered")
    (second,) = _runs(scene) - owed.keys()
    scene.sensor.stop()
    scene.until(lambda: scene.sensor and scene.sensor.printed, "the sensor does not stop")
    owed[second] = scene.sensor.printed or 0
    never_written = max(0, waiting - len(kept))
    scene.local = lambda: local_account(scene.consumer.answers.copy(), owed, never_written)
    return 2


def _runs(scene: Scene) -> set[str]:
    """The sensor's runs of which samples were answered."""
    return {answer.partition("-")[0] for answer in list(scene.consumer.answers) if "-" in answer}


def on_disk(store: Path) -> list[tuple[str, int]]:
    """Run and number of every result in the store of a hub that is dead; read from a copy, to leave it as it is."""
    if not (store / NAME).exists():
        return []
    with TemporaryDirectory() as folder:
        for path in store.glob(f"{NAME}*"):
            shutil.copy(path, folder)
        with contextlib.closing(sqlite3.connect(Path(folder, NAME))) as journal:
            bodies = journal.execute("SELECT body FROM message").fetchall()
    found = (_ID.search(body) for (body,) in bodies)
    return [(id_[1].decode(), int(id_[2])) if id_ else ("", 0) for id_ in found]
