"""Tells how a program is that is started again and again: rules without I/O.

One run says little: a program that ends is started again, and what prints a line and ends is a source too. So what has
failed stays so until a later run has proved itself, by a line or by living for a while.
"""

from maas_agent.errors import brief
from maas_agent.ipc import SourceIs

MOST_EMPTY_RUNS = 3
"""A program may have had nothing to say; so often in a row it is no source."""


class SourceCondition:
    """Told what happens to the program; `now` is what came of it."""

    def __init__(self) -> None:
        self.now = SourceIs("waiting", "it has not been started yet")
        self._empty_runs = 0

    def started(self) -> None:
        """It runs, and has not said anything yet."""
        if self.now.state != "failed":
            self.now = SourceIs(
                self.now.state, "it has not printed a line yet" if self.now.state == "waiting" else None
            )

    def proved(self) -> None:
        """It has printed a line, or has lived for long enough."""
        self._empty_runs = 0
        self.now = SourceIs("running")

    def refused(self, reason: str) -> None:
        """It could not be started."""
        self.now = SourceIs("failed", brief(reason))

    def ended(self, how: str, *, well: bool, spoke: bool) -> None:
        """A run has ended, as ``how`` says; ``well`` with status 0, ``spoke`` after at least one line."""
        how = brief(how)
        if not well:
            self.now = SourceIs("failed", how)
        elif spoke:
            self.proved()
        else:
            self._empty_runs += 1
            if self._empty_runs >= MOST_EMPTY_RUNS:
                self.now = SourceIs("failed", brief(f"{how}, {MOST_EMPTY_RUNS} times or more"))
            elif self.now.state != "failed":
                self.now = SourceIs("waiting", how)
