"""A device whose hub is this test: it starts a real puller process and speaks the hub's side of the socketpair."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maas_agent.trials.__main__ import tried
from maas_agent.trials.task import Assignment, TrialReport
from maas_agent.trials.terms import Terms
from maas_agent.update.protocol import (
    Go,
    Outcome,
    PullJob,
    PullProgress,
    RepositoryAccess,
    Wanted,
    decode_event,
    line_of,
)


class Device:
    """A store on the device, and the repository it was given. ``progress`` holds the states of the last update.

    ``log`` is what the pullers said, ``environment`` what is added to theirs, ``access`` what they
    know of the repository beside its address and its root.
    """

    def __init__(self, store: Path, root: Path, url: str | None) -> None:
        self.store = store
        self.root = root
        self.url = url
        self.timeout_s = 20.0
        self.max_bytes = 0
        self.keep: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        self.access: dict[str, Any] = {}
        self.progress: list[PullProgress] = []
        self.before_start: Callable[[], None] | None = None
        self.log = store.with_suffix(".log")

    def update(self, **wanted: Any) -> Outcome:
        """Let the puller bring pipeline ``p`` up to date; by default it wants the model ``digits``, on one thread.

        With ``Terms()`` it would try as many numbers of threads as there are processors, each in a process of its own.
        """
        asked = {"pipeline": "p", "model": "digits", "terms": Terms(threads=1)} | wanted
        return self.updates(Wanted(**asked))[0]

    def updates(self, *wanted: Wanted) -> list[Outcome]:
        """One job for several pipelines."""
        hub, puller = self.start(*wanted)
        with hub, hub.makefile("rb") as stream:
            outcomes = self._answer(hub, stream, wanted)
        assert puller.wait(10) == 0
        return outcomes

    def start(self, *wanted: Wanted) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Start a puller with a job; the hub's end is the caller's to close."""
        hub, other = socket.socketpair()
        with other, self.log.open("ab") as log:
            puller = subprocess.Popen(
                [sys.executable, "-m", "maas_agent.update", str(other.fileno())],
                pass_fds=[other.fileno()],
                preexec_fn=self.before_start,
                env=os.environ | self.environment,
                stderr=log,
            )
        hub.settimeout(60)
        job = PullJob(
            store=str(self.store),
            repository=self._access(),
            wanted=list(wanted),
            keep=self.keep,
            max_bytes=self.max_bytes,
        )
        hub.sendall(line_of(job))
        return hub, puller

    def _access(self) -> RepositoryAccess | None:
        if not self.url:
            return None
        return RepositoryAccess(url=self.url, root=str(self.root), timeout_s=self.timeout_s, **self.access)

    def _tried(self, event: PullProgress, wanted: Sequence[Wanted]) -> TrialReport:
        """What the process says that a hub has a bundle tried by."""
        terms = next(one.terms for one in wanted if one.pipeline == event.pipeline)
        return tried(Assignment(str(self.store), event.digest, terms))

    def _answer(self, hub: socket.socket, stream: Any, wanted: Sequence[Wanted]) -> list[Outcome]:
        self.progress = []
        outcomes: list[Outcome] = []
        while len(outcomes) < len(wanted):
            line = stream.readline()
            assert line, "the puller ended without an outcome"
            event = decode_event(line)
            if isinstance(event, Outcome):
                outcomes.append(event)
            else:
                self.progress.append(event)
                hub.sendall(line_of(Go(report=self._tried(event, wanted) if event.state == "testing" else None)))
        return outcomes
