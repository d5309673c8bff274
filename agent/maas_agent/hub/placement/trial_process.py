"""Tries a staged bundle again in a process: after the device changed, or when a quarantine is over."""

from collections.abc import Callable

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.hub.system.job_process import JobProcess
from maas_agent.hub.system.loop import Loop
from maas_agent.trials.task import Assignment, TrialReport
from maas_agent.update.protocol import MAX_LINE_BYTES, SELF_TEST_S


class TrialProcess:
    """Carries out one assignment; ``on_report`` gets what came of it, also if the process dies."""

    def __init__(self, loop: Loop, assignment: Assignment, on_report: Callable[[TrialReport], None]) -> None:
        self._on_report = on_report
        self._received = bytearray()
        job = msgspec.json.encode(assignment) + b"\n"
        self._job_process: JobProcess | None = None
        try:
            self._job_process = JobProcess(loop, "maas_agent.trials", job, SELF_TEST_S, self._receive, self._ended)
        except OSError as error:  # no descriptor, process or memory is left
            how = f"cannot be started: {error.strerror or error}"
            loop.call(lambda: self._ended(how))

    def kill(self) -> None:
        """End it and what it started."""
        if self._job_process is not None:
            self._job_process.kill()

    def _receive(self, chunk: bytes) -> None:
        self._received += chunk
        if len(self._received) > MAX_LINE_BYTES:
            self.kill()  # what it tries is untrusted, and so is what it says

    def _ended(self, how: str) -> None:
        try:
            report = msgspec.json.decode(self._received, type=TrialReport)
        except MALFORMED:
            report = TrialReport(refused=f"the process that tries it {how}")
        self._on_report(report)
