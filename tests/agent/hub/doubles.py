"""What the hub's parts are given in their tests: a log that keeps its lines, and a clock wound by hand."""

from typing import Any

from maas_agent.base.log import Log


class Lines(Log):
    """Keeps what it is told, as (level, event, fields)."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.lines.append((level, event, fields))

    @property
    def told(self) -> list[tuple[str, str]]:
        """The same without the fields."""
        return [(level, event) for level, event, _ in self.lines]

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


class Monotonic:
    """The monotonic clock, in the place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
