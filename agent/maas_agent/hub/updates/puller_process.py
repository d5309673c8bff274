"""Runs the puller process of one check: tells it its job, listens to it, believes it nothing."""

from collections.abc import Callable

from maas_agent.base.log import Log
from maas_agent.base.untrusted import Lines
from maas_agent.errors import DataError
from maas_agent.hub.placement.trial_process import TrialProcess
from maas_agent.hub.system.job_process import JobProcess
from maas_agent.hub.system.loop import Loop
from maas_agent.trials.task import Assignment, TrialReport
from maas_agent.update.protocol import (
    MAX_LINE_BYTES,
    Go,
    Outcome,
    PullJob,
    PullProgress,
    decode_event,
    line_of,
    longest_s,
)


class PullerProcess:
    """Runs the puller of one check. ``outcomes`` fills as it goes; ``on_end`` is called when it has ended."""

    def __init__(
        self,
        loop: Loop,
        job: PullJob,
        on_event: Callable[[PullProgress | Outcome], None],
        on_end: Callable[[str], None],
        log: Log,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._on_event, self._on_end, self._log = on_event, on_end, log
        self._lines = Lines()
        self._loop, self._store = loop, job.store
        self._terms = {wanted.pipeline: wanted.terms for wanted in job.wanted}
        self._trial_process: TrialProcess | None = None
        self._passed: dict[str, str] = {}
        """Digests of the bundles that were tried here and may serve, by pipeline."""
        self._job_process: JobProcess | None = None
        try:
            self._job_process = JobProcess(
                loop, "maas_agent.update", line_of(job), longest_s(job), self._receive, self._ended
            )
        except OSError as error:  # no descriptor, process or memory is left
            how = f"cannot be started: {error.strerror or error}"
            loop.call(lambda: on_end(how))

    @property
    def names(self) -> set[str]:
        """The pipelines that it works for."""
        return set(self._terms)

    def kill(self) -> None:
        """End it, and the trials of what it has brought."""
        if self._trial_process is not None:
            self._trial_process.kill()
        if self._job_process is not None:
            self._job_process.kill()

    def _ended(self, how: str) -> None:
        if self._trial_process is not None:
            self._trial_process.kill()
        self._on_end(how)

    def _receive(self, chunk: bytes) -> None:
        for line in self._lines.feed(chunk):
            self._obey(line)
        if len(self._lines.rest) > MAX_LINE_BYTES:
            self.kill()

    def _obey(self, line: bytes) -> None:
        try:
            event = decode_event(line)
            if event.pipeline not in self.names:
                raise DataError(f"the puller speaks of {event.pipeline!r}, which nobody asked for")
            if isinstance(event, Outcome) and event.result == "tested":
                self._refuse_untried(event)
            self._on_event(event)
            if isinstance(event, Outcome):
                self.outcomes[event.pipeline] = event
            elif event.state == "testing":
                self._try(event)
            else:
                self._go(Go())
        except (DataError, OSError) as error:
            # It handled untrusted bytes and is confused, or the disk is full: its pipelines have failed.
            self._log.error("update ended", reason=error)
            self.kill()

    def _go(self, go: Go) -> None:
        if self._job_process is not None:
            self._job_process.send(line_of(go))

    def _try(self, progress: PullProgress) -> None:
        """Have the bundle tried, by another process: whoever fetches from outside starts no programs."""
        if self._trial_process is not None:
            raise DataError("the puller wants one bundle to be tried while another one is")
        assignment = Assignment(self._store, progress.digest, self._terms[progress.pipeline], gentle=True)

        def on_report(report: TrialReport) -> None:
            self._trial_process = None
            if report.trials is not None:
                self._passed[progress.pipeline] = progress.digest
            self._go(Go(report=report))

        self._trial_process = TrialProcess(self._loop, assignment, on_report)

    def _refuse_untried(self, outcome: Outcome) -> None:
        """It may have been taken over by what it fetched, and then says what it likes."""
        if self._passed.get(outcome.pipeline) != outcome.digest:
            raise DataError(f"the puller says of {outcome.pipeline!r} that a bundle passed its tests, and none did")
