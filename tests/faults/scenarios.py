"""The faults by name: what is played, how often, and what it needs. The titles are those of docs/reliability.md."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from random import Random

import msgspec

from tests.faults import kinds, needs
from tests.faults.needs import Lack
from tests.faults.outages import crash_loop, jam, local_outage, outage
from tests.faults.proxy import BOTH, DOWN, UP
from tests.faults.scene import Scene, Setting, moment
from tests.faults.sensor import PER_S
from tests.faults.storm import storm

Fault = Callable[[Scene], AbstractContextManager[None]]
SEED = 6
MOSQUITTO_WINDOW = 20
"""Its ``max_inflight_messages``, unless set."""
_BETWEEN = 250
"""Inputs that are answered before the next fault comes."""
_SOME = 400
_MANY = 1000
_MOST = 3000
"""The same before faults of which each costs some duplicates, where they are held to 1 %: not in a few rounds."""
_FEW = 4
_LARGE = "max_bytes = 4294967296\nreplay_per_s = 5000"
"""The outage is about what is kept, not about the bound; and it has to come to an end."""


PLAIN = Setting()
LOCAL = Setting(outbox=_LARGE, sensor=True, pace=20.0)
LOCAL_PROCESS = msgspec.structs.replace(LOCAL, outbox=f'{_LARGE}\ndurability = "process"')
CRASHING = Setting(pace=250.0)
SMALL = Setting(outbox="max_bytes = 65536")
LOCAL_NONE = msgspec.structs.replace(LOCAL, outbox=f'{_LARGE}\ndurability = "none"')
"""Not played for the promise: what waits in memory is lost with the hub."""


@cache
def whole() -> Setting:
    """Everything that this machine allows."""
    clock, cable, disk = needs.clock(), needs.cable(), needs.small_disk()
    return Setting(persistence=True, clock=not clock, namespace=not cable, disk=not disk)


def _plain() -> Setting:
    return PLAIN


def _nothing() -> None:
    """Most scenarios need nothing that may be missing."""


class Scenario(msgspec.Struct, frozen=True):
    """``play`` does it ``rounds`` times, or for so many seconds; it returns how many faults that were.

    Scenarios of one setting are played in one scene, one after the other.
    """

    title: str
    play: Callable[[Scene, int], int]
    rounds: tuple[int, int]
    """In ``make test``, and in ``make faults``."""
    setting: Callable[[], Setting] = _plain
    lack: Callable[[], Lack | None] = _nothing
    kills_broker: bool = False
    """Only then something may be lost that is not the agent's."""
    under_way: int | None = None
    """So many results are under way when a fault comes, and no more of them may come twice for each."""


def each(fault: Fault, lasting_s: float = 0.0, between: int = _BETWEEN) -> Callable[[Scene, int], int]:
    """The fault again and again, at a moment of its own each time, with inputs in between."""

    def play(scene: Scene, rounds: int) -> int:
        random = Random(SEED)
        for _ in range(rounds):
            scene.flow(between if rounds > _FEW else _BETWEEN)
            moment(random.uniform(0.0, 0.1))
            with fault(scene):
                moment(random.uniform(0.0, lasting_s))
        scene.flow(_BETWEEN)
        return rounds

    return play


def noticed(fault: Fault, between: int = _BETWEEN) -> Callable[[Scene, int], int]:
    """Every other time the fault lasts until the agent gives its connection up."""

    def play(scene: Scene, rounds: int) -> int:
        random = Random(SEED)
        for number in range(rounds):
            scene.flow(between if rounds > _FEW else _BETWEEN)
            with fault(scene):
                if number % 2:
                    moment(random.uniform(0.0, 0.5))
                else:
                    scene.until_noticed()
        scene.flow(_BETWEEN)
        return rounds

    return play


@contextmanager
def _half_open_until_noticed(scene: Scene) -> Iterator[None]:
    with kinds.half_open(scene):
        scene.until_noticed()
        yield


@contextmanager
def _restarted_while_off(scene: Scene) -> Iterator[None]:
    """A day ahead, a start there, a day behind, a start there; inputs are answered all the time."""
    for days in (1, -1):
        with kinds.clock_off(scene, days):
            scene.flow(_SOME)
            with kinds.hub_killed(scene, at_work=True):
                pass
            scene.flow(_SOME)
    yield


@contextmanager
def _served_while_full(scene: Scene) -> Iterator[None]:
    """Inputs are answered while there is no room, and a hub that starts then answers too."""
    with kinds.disk_full(scene):
        scene.flow(_SOME)
        with kinds.hub_killed(scene, at_work=True):
            pass
        scene.flow(_SOME)
    yield


def _random(scene: Scene, faults: int) -> int:
    return storm(scene, Random(SEED), lambda number: number < faults).total()


SCENARIOS: dict[str, Scenario] = {
    "hub": Scenario("SIGKILL of the hub", each(lambda s: kinds.hub_killed(s, at_work=True), between=_MANY), (3, 30)),
    "worker": Scenario("SIGKILL of a worker", each(lambda s: kinds.worker_killed(s, at_work=True)), (4, 8)),
    "forgetful-broker": Scenario(
        "SIGKILL of the broker, without persistence",
        each(kinds.broker_killed, 0.2, _MANY),
        (3, 15),
        kills_broker=True,
    ),
    "stall-up": Scenario(
        "nothing passes from the agent to the broker", noticed(lambda s: kinds.stalled(s, UP), _MOST), (2, 10)
    ),
    "stall-down": Scenario(
        "nothing passes from the broker to the agent", noticed(lambda s: kinds.stalled(s, DOWN), _MANY), (2, 10)
    ),
    "stall": Scenario("nothing passes in either direction", noticed(lambda s: kinds.stalled(s, *BOTH), _MANY), (2, 10)),
    "half-open": Scenario(
        "the broker's end of the connection is gone", each(_half_open_until_noticed, between=_MOST), (1, 8)
    ),
    "reset": Scenario("the connection is reset", each(kinds.reset, between=_MANY), (3, 30)),
    "kick": Scenario("the broker resets after CONNACK, 5 times in a row", each(lambda s: kinds.kicked(s, 5)), (1, 15)),
    "slow": Scenario("the network passes 20 kB/s", each(lambda s: kinds.slow(s, 20_000), 2.0), (1, 10)),
    "sigterm": Scenario("SIGTERM under load", each(lambda s: kinds.terminated(s, at_work=True)), (2, 20)),
    "outage": Scenario(f"outage of the network, inputs sent on at {PLAIN.pace:g} a second", outage, (3, 600)),
    "crash-loop": Scenario(
        f"SIGKILL of the hub every second, inputs sent on at {CRASHING.pace:g} a second to a network of 20 kB/s",
        crash_loop,
        (4, 12),
        lambda: CRASHING,
        under_way=MOSQUITTO_WINDOW,
    ),
    "jam": Scenario(
        "more results than a network of 20 kB/s takes, and an outbox of 64 KiB", jam, (3, 20), lambda: SMALL
    ),
    "local-outage": Scenario(
        f"the same of a source on the device, {PER_S} samples a second, with SIGKILL of the hub in its middle",
        local_outage,
        (2, 600),
        lambda: LOCAL,
    ),
    "local-process": Scenario('the same with `durability = "process"`', local_outage, (2, 60), lambda: LOCAL_PROCESS),
    "broker": Scenario(
        "SIGKILL of the broker, with persistence",
        each(kinds.broker_killed, 0.2, _MANY),
        (3, 15),
        whole,
        kills_broker=True,
    ),
    "cable": Scenario(
        "the cable of a network namespace is pulled",
        noticed(kinds.unplugged, _MANY),
        (2, 10),
        whole,
        needs.cable,
    ),
    "clock": Scenario(
        "the clock jumps a day ahead and a day back",
        each(_restarted_while_off, between=_MOST),
        (1, 8),
        whole,
        needs.clock,
    ),
    "disk": Scenario(
        "the disk is full, and the hub is killed then",
        each(_served_while_full, between=_MANY),
        (1, 15),
        whole,
        needs.small_disk,
    ),
    "random": Scenario("random faults, sometimes two at a time", _random, (20, 200), whole, kills_broker=True),
}
