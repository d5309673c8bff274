"""Rows of the state machines of docs/states.md: each is a scenario that a test plays, under the name it has there."""

from collections.abc import Callable
from typing import Any

Scenario = Callable[[Any], None]


class Rows(dict[tuple[str, str], Scenario]):
    """The scenarios of one machine, by state and event, in the order of the page."""

    def row(self, state: str, event: str) -> Callable[[Scenario], Scenario]:
        """The decorated function plays this row: it brings its setting there, lets it happen, and looks."""

        def add(scenario: Scenario) -> Scenario:
            assert (state, event) not in self, "a row is played once"
            self[state, event] = scenario
            return scenario

        return add
