"""Random faults in a row: drawn from a seed, sometimes two at a time."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from random import Random

from tests.faults import kinds
from tests.faults.proxy import BOTH, DOWN, UP
from tests.faults.scene import Scene, moment

Fault = Callable[[Scene], AbstractContextManager[None]]

MACHINE: dict[str, Fault] = {
    "clock a day ahead": lambda scene: kinds.clock_off(scene, 1),
    "clock a day behind": lambda scene: kinds.clock_off(scene, -1),
    "disk full": kinds.disk_full,
}
NETWORK: dict[str, Fault] = {
    "stall to the broker": lambda scene: kinds.stalled(scene, UP),
    "stall to the agent": lambda scene: kinds.stalled(scene, DOWN),
    "stall both ways": lambda scene: kinds.stalled(scene, *BOTH),
    "connection reset": kinds.reset,
    "connection ended": kinds.cut,
    "half-open": kinds.half_open,
    "broker away": kinds.away,
    "reset after CONNACK": lambda scene: kinds.kicked(scene, 2),
    "slow network": lambda scene: kinds.slow(scene, 20_000),
    "cable pulled": kinds.unplugged,
}
PROCESS: dict[str, Fault] = {
    "hub killed": kinds.hub_killed,
    "worker killed": kinds.worker_killed,
    "broker killed": kinds.broker_killed,
    "SIGTERM": kinds.terminated,
}
FAMILIES = (MACHINE, NETWORK, PROCESS)
"""Of two at a time the one of the earlier family is the longer one: to be repaired some need a hub that runs."""

_BOTH = 0.25
_LONG = 0.05
_LONG_S = 3.0
_SHORT_S = 0.4
_BETWEEN = (200, 1400)
"""Inputs that are answered before the next fault comes."""


def storm(scene: Scene, random: Random, goes_on: Callable[[int], bool]) -> Counter[str]:
    """Faults until ``goes_on``, asked with their number so far, says no; returns how often each one came."""
    played: Counter[str] = Counter()
    while goes_on(played.total()):
        scene.flow(random.randrange(*_BETWEEN))
        drawn = _draw(random, scene)
        with ExitStack() as in_force:
            for name, fault in drawn:
                in_force.enter_context(fault(scene))
                played[name] += 1
            moment(random.uniform(0.0, _LONG_S if random.random() < _LONG else _SHORT_S))
    return played


def _draw(random: Random, scene: Scene) -> list[tuple[str, Fault]]:
    """One fault, or two of different families; each is as likely as any other."""
    possible = [[(name, fault) for name, fault in family.items() if _is_possible(name, scene)] for family in FAMILIES]
    first = random.choice([drawn for family in possible for drawn in family])
    if random.random() >= _BOTH or first[0] == "SIGTERM":
        return [first]  # a hub that drains waits for the network: a test of its own
    others = [family for family in possible if first not in family and family]
    second = random.choice(random.choice(others))
    if second[0] == "SIGTERM":
        return [first]
    return sorted((first, second), key=lambda drawn: next(n for n, f in enumerate(FAMILIES) if drawn[0] in f))


def _is_possible(name: str, scene: Scene) -> bool:
    needed = {
        "cable pulled": scene.namespace,
        "disk full": scene.disk,
        "clock a day ahead": scene.clock,
        "clock a day behind": scene.clock,
    }
    return needed.get(name, scene) is not None
