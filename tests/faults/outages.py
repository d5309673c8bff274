"""A network that is away for long while samples go on to come at full rate, from outside and from the device itself."""

from collections.abc import Mapping

from tests.faults.scene import DURABLE, Scene, moment
from tests.faults.sensor import local_account

_BETWEEN = 100
_IN_FLIGHT = 512
"""Results that the broker may have although the agent has not heard of it, at the most."""
_COMMIT_S = 1.0


def outage(scene: Scene, seconds: int) -> int:
    """The agent's network is away while inputs go on to be sent as fast as before."""
    scene.flow(_BETWEEN)
    scene.sender.window = None
    with scene.away():
        moment(seconds)
    scene.sender.window = scene.setting.window
    return 1


def local_outage(scene: Scene, seconds: int) -> int:
    """The same with a source on the device; where results are kept on the disk, the hub is killed meanwhile."""
    assert scene.sensor
    scene.until(lambda: _runs(scene), "the sensor's samples are not answered")
    owed: dict[str, int] = {}
    with scene.away():
        moment(seconds / 2)
        if DURABLE:
            (run,) = _runs(scene)
            owed[run] = _kept(scene, run)
            with scene.hub_killed():
                pass
        moment(seconds / 2)
    scene.until(lambda: _runs(scene).keys() - owed.keys(), "the samples of the present run are not answered")
    (present,) = _runs(scene).keys() - owed.keys()
    scene.sensor.stop()
    scene.until(lambda: scene.sensor.printed, "the sensor does not stop")
    owed[present] = scene.sensor.printed
    while sum(_runs(scene).values()) < sum(owed.values()) and scene.comes_more():
        pass
    scene.local = local_account(dict(scene.consumer.answers), owed)
    return 1 + DURABLE


def _runs(scene: Scene) -> Mapping[str, int]:
    """The sensor's runs, and the number of the newest sample of each that was answered."""
    runs: dict[str, int] = {}
    for answer in list(scene.consumer.answers):
        run, _, number = answer.rpartition("-")
        if run:
            runs[run] = max(int(number), runs.get(run, 0))
    return runs


def _kept(scene: Scene, run: str) -> int:
    """So many samples of ``run`` the agent has answered for certain, and has on its disk what was not delivered."""
    waiting = scene.status()["outbox"]["results"]
    delivered = _runs(scene)[run]
    moment(_COMMIT_S)  # for what waits to be written
    return max(delivered, delivered + waiting - _IN_FLIGHT - scene.setting.window)
