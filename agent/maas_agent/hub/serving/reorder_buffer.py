"""Releases answers in the order in which their inputs came, whoever finished first."""

import itertools
from collections.abc import Callable

Action = Callable[[], None]


class ReorderBuffer:
    """Gives each input a ticket, and holds what is done for one back until all earlier ones are done."""

    def __init__(self) -> None:
        self._tickets = itertools.count()
        self._next = 0
        self._held: dict[int, Action] = {}

    def __len__(self) -> int:
        """Actions that wait for earlier ones."""
        return len(self._held)

    def take(self) -> int:
        """The ticket of an input that has just arrived."""
        return next(self._tickets)

    def done(self, ticket: int, action: Action) -> None:
        """Do ``action`` when its turn has come, and all that waited for it."""
        self._held[ticket] = action
        while (ready := self._held.pop(self._next, None)) is not None:
            self._next += 1
            ready()
