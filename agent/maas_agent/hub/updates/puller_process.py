"""Runs the puller process of one check: tells it its job, listens to it, believes it nothing."""

from collections.abc import Callable

from maas_agent.base.log import Log
from maas_agent.base.untrusted import Lines
from maas_agent.errors import DataError
from maas_agent.hub.system.job_process import JobProcess
from maas_agent.hub.system.loop import Loop
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
    """The puller process of one check. ``outcomes`` fills as it goes; ``on_end`` is called when it has ended."""

    def __init__(
        self,
        loop: Loop,
        job: PullJob,
        on_event: Callable[[PullProgress | Outcome], None],
        on_end: Callable[[str], None],
        log: Log,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._on_event, self._log = on_event, log
        self._lines = Lines()
        self.names = {wanted.pipeline for wanted in job.wanted}
        self._job_process: JobProcess | None = None
        try:
            self._job_process = JobProcess(
                loop, "maas_agent.update", line_of(job), longest_s(job), self._receive, on_end
            )
        except OSError as error:  # no descriptor, process or memory is left
            how = f"cannot be started: {error.strerror or error}"
            loop.call(lambda: on_end(how))

    def kill(self) -> None:
        """End it and what it started."""
        if self._job_process is not None:
            self._job_process.kill()

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
            self._on_event(event)
        except (DataError, OSError) as error:
            # It handled untrusted bytes and is confused, or the disk is full: its pipelines have failed.
            self._log.error("update ended", reason=error)
            self.kill()
            return
        if isinstance(event, Outcome):
            self.outcomes[event.pipeline] = event
        elif self._job_process is not None:
            self._job_process.send(line_of(Go()))
