"""What a person sees: sentences, tables and progress bars, all on standard error; standard output is for ``--json``."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from maas_agent.base.terminal import ask, beneath, cell, printable, write_line
from maas_agent.errors import UsageError
from maas_converter.base.isolation import note_step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Samples = NDArray[np.generic]


class Progress(Protocol):
    """Where long work reports to."""

    def step(self, what: str) -> None:
        """Say what begins now, and takes seconds."""
        ...

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Pass the rows of ``samples`` (N, …) through, showing how many are done."""
        ...


class SilentProgress:
    """Shows nothing: for programs and tests."""

    def step(self, what: str) -> None:
        """Do nothing: a program has nobody to tell."""

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Pass the rows through."""
        return iter(samples)


class TerminalProgress:
    """A line for each step and a bar for each loop, on standard error, if that is a terminal; else nothing."""

    def step(self, what: str) -> None:
        """Write what begins now."""
        note_step(what)
        if sys.stderr.isatty():
            show(f"{what} …", "dim")

    def track(self, what: str, samples: Samples) -> Iterator[Samples]:
        """Draw a bar that goes away when it is full."""
        note_step(what)
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        screen, hidden = terminal(), not sys.stderr.isatty()
        with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, disable=hidden) as progress:
            yield from progress.track(samples, description=cell(what))


def terminal() -> "Console":
    """Standard error as rich sees it. Bound now: what a library's output is redirected to meanwhile is not ours."""
    from rich.console import Console

    return Console(file=beneath(sys.stderr))


def text(words: str, style: str = "") -> "Text":
    """``words`` for rich, which takes them as they are: escaped, and no markup, links or emoji of its own in them."""
    from rich.text import Text

    return Text(printable(words), style=style)


def show(words: str, style: str = "") -> None:
    """Write one line in a style."""
    terminal().print(text(words, style))


def say(sentence: str) -> None:
    """Write one sentence for a person."""
    write_line(sentence, error=True)


def confirm(question: str, otherwise: str) -> None:
    """Raise `UsageError`, which says ``otherwise``, unless a person at a terminal answers ``question`` with yes."""
    if not sys.stdin.isatty():
        raise UsageError(f"{otherwise}: there is no terminal to ask at; read what is listed, then give --yes")
    if ask(f"{question} [y/N]").lower() not in ("y", "yes"):
        raise UsageError(f"{otherwise}: it was not answered with yes")


def show_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table; the first column names its rows, the others are figures."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=text(title), box=SIMPLE, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(text(name), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(text(each) for each in row))
    terminal().print(table)


def show_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Write names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")
