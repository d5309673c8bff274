"""Random faults in a row: drawn from a seed, sometimes two at a time."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from random import Random

from tests.faults.proxy import BOTH, DOWN, UP
from tests.faults.scene import Scene, moment

Fault = Callable[[Scene], AbstractContextManager[None]]

MACHINE: dict[str, Fault] = {
    "clock a day ahead": lambda scene: scene.clock_off(1),
    "clock a day behind": lambda scene: scene.clock_off(-1),
    "disk full": lambda scene: scene.disk_full(),
}
NETWORK: dict[str, Fault] = {
    "stall to the broker": lambda scene: scene.stalled(UP),
    "stall to the agent": lambda scene: scene.stalled(DOWN),
    "stall both ways": lambda scene: scene.stalled(*BOTH),
    "connection reset": lambda scene: scene.reset(),
    "connection ended": lambda scene: scene.cut(),
    "half-open": lambda scene: scene.half_open(),
    "broker away": lambda scene: scene.away(),
    "reset after CONNACK": lambda scene: scene.kicked(2),
    "slow network": lambda scene: scene.slow(20_000),
    "cable pulled": lambda scene: scene.unplugged(),
}
PROCESS: dict[str, Fault] = {
    "hub killed": lambda scene: scene.hub_killed(),
    "worker killed": lambda scene: scene.worker_killed(),
    "broker killed": lambda scene: scene.broker_killed(),
    "SIGTERM": lambda scene: scene.terminated(),
}
FAMILIES = (MACHINE, NETWORK, PROCESS)
"""Of two at a time the one of the earlier family is the longer one: to be repaired some need a hub that runs."""

_BOTH = 0.25
_LONG = 0.05
_LONG_S = 3.0
_SHORT_S = 0.4
_BETWEEN = (50, 450)
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
    if name == "cable pulled":
        return scene.namespace is not None
    if name == "disk full":
        return scene.disk is not None
    return True
