"""Every attack by name: what `docs/security.md` counts, and what `test_attacks` plays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.attacks.scene import Scene

Play = Callable[..., Iterator[str | None]]
"""Yields once the honest setup is ready, without a word; then, once it is attacked, the reason that is expected.

A reason is a part of the sentence; ``…`` in it stands for anything.
"""

NAMES = (
    "rollback",
    "freeze",
    "mix-and-match",
    "endless data",
    "slow retrieval",
    "wrong key",
    "expired",
    "revoked",
    "threshold not met",
    "key rotation skipped a version",
    "tampered blob",
    "truncated blob",
    "decompression bomb",
    "path traversal",
    "symlink",
    "replayed desired state",
    "unknown schema",
    "oversized manifest",
    "disk filling",
    "foreign redirect",
    "malformed JSON",
    "lying range",
    "lying manifest",
    "foreign delegation",
    "hostile broker",
)
"""The names of attacks, the first eighteen those that every updater must know."""


@dataclass(frozen=True)
class Attack:
    """One way to do what ``name`` says. ``signs``: it takes keys that the publisher was robbed of, or a bad publisher.

    Others are over when they are over: then the honest offer is taken.
    """

    name: str
    way: str
    play: Callable[["Scene"], Iterator[str | None]]
    module: str
    signs: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.way}"


ATTACKS: list[Attack] = []


def attack(name: str, *ways: str, signs: bool = False) -> Callable[[Play], Play]:
    """Register a play; with several ``ways`` it is given each of them."""
    assert name in NAMES, name

    def register(play: Play) -> Play:
        def in_this_way(way: str) -> Callable[["Scene"], Iterator[str | None]]:
            return (lambda scene: play(scene, way)) if len(ways) > 1 else play

        module = play.__module__.rpartition(".")[2]
        ATTACKS.extend(Attack(name, way, in_this_way(way), module, signs) for way in ways)
        return play

    return register


def ways_of(name: str) -> list[Attack]:
    """The attacks of this name."""
    return [attack for attack in ATTACKS if attack.name == name]
