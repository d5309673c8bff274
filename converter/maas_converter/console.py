"""What a person sees: sentences, tables and progress bars, all on standard error; standard output is for ``--json``."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maas_converter.isolation import note_step

if TYPE_CHECKING:
    from rich.console import Console

Samples = NDArray[np.generic]


class Progress(Protocol):
    """Where long work reports to."""

    def step(self, what: str) -> None:
        """Say what begins now, and takes seconds."""
        ...

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Pass the rows of ``samples`` (N, …) through, showing how many are done."""
        ...


class Silent:
    """Shows nothing: for programs and tests."""

    def step(self, what: str) -> None:
        """Say nothing."""

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Pass the rows through."""
        return iter(samples)


class TerminalProgress:
    """A line for each step and a bar for each loop, on standard error, if that is a terminal; else nothing."""

    def step(self, what: str) -> None:
        """Write what begins now."""
        note_step(what)
        if sys.stderr.isatty():
            terminal().print(f"[dim]{what} …[/dim]", highlight=False)

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Draw a bar that goes away when it is full."""
        note_step(what)
        from rich.progress import track

        rows: Iterable[Any] = samples
        yield from track(rows, description=what, console=terminal(), transient=True, disable=not sys.stderr.isatty())


def terminal() -> "Console":
    """Standard error as rich sees it. Bound now: what a library's output is redirected to meanwhile is not ours."""
    from rich.console import Console

    return Console(file=sys.stderr)


def say(sentence: str) -> None:
    """Write one sentence for a person."""
    sys.stderr.write(f"{sentence}\n")


def show_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table; the first column names its rows, the others are figures."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=SIMPLE, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(escape(name), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    terminal().print(table)


def show_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Write names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")
