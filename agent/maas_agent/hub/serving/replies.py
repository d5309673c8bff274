"""What becomes of answers: counted, and put into the outbox for the topics that wait for them."""

import time
from collections.abc import Callable

from maas_agent.base import codes
from maas_agent.base.documents import ErrorDetail, ErrorDocument, encode, rfc3339
from maas_agent.config import Report
from maas_agent.host.clock import JUMP_S, wall_offset
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.outbox.time_correction import corrected_payload
from maas_agent.hub.serving.metrics import Meter
from maas_agent.hub.serving.request import Job
from maas_agent.ipc import Answer


class Answers:
    """The answers of one pipeline. ``out`` is the topic for samples of a local source, published as ``report`` says."""

    def __init__(self, device: str, pipeline: str, out: str, report: Report, outbox: Outbox, meter: Meter) -> None:
        self._device, self._pipeline = device, pipeline
        self._out, self._report = out, report
        self._outbox, self._meter = outbox, meter

    def reply(self, job: Job, answer: Answer) -> None:
        """Answer an input, with its own QoS; it is acknowledged when the answer is safe."""
        self._count(answer)
        kept = self._is_kept(answer) and not job.out.endswith(f"/out/{job.id}")
        document = _dated(job, answer.document)
        copies = [Outbound(job.out, document, job.qos, kept, content_type=answer.content_type)]
        if job.response_topic:
            copies.append(
                Outbound(
                    job.response_topic,
                    document,
                    job.qos,
                    content_type=answer.content_type,
                    correlation=job.correlation,
                    expiry_s=job.left_s(time.monotonic()),
                )
            )
        done = _after(len(copies), job.acknowledge)
        if job.input is not None:
            job.input.left = len(copies)
        for copy in copies:
            self._outbox.put(copy, done, answers=job.input)

    def report(self, answer: Answer) -> None:
        """Publish the answer to a sample of the worker's own source."""
        self._meter.received += 1
        self._count(answer)
        qos, kept = self._report.qos, self._is_kept(answer)
        self._outbox.put(Outbound(self._out, answer.document, qos, kept, content_type=answer.content_type))

    def refuse(self, job: Job, code: str, message: str) -> None:
        """Answer an input with an error that no worker has seen."""
        document = ErrorDocument(
            id=job.id,
            time=rfc3339(job.arrived),
            device=self._device,
            pipeline=self._pipeline,
            error=ErrorDetail(code, message),
        )
        self.reply(job, Answer(0, job.id, encode(document), 0.0, code))

    def _is_kept(self, answer: Answer) -> bool:
        """Whether the broker keeps it for those who subscribe later: results, for an error says nothing for long."""
        return self._report.retain and answer.code is None

    def _count(self, answer: Answer) -> None:
        if answer.code is None:
            self._meter.answered += 1
            self._meter.out_of_range += answer.outside
            self._meter.latencies.add(answer.latency_ms)
        else:
            # A worker is not trusted: it cannot make the counters grow without end.
            self._meter.errors[answer.code if answer.code in codes.MEANING else codes.INTERNAL] += 1


def _dated(job: Job, document: bytes) -> bytes:
    """The document with the right time, if the wall clock was set while the input waited for its answer."""
    error_s = 0.0 if job.offset is None else wall_offset() - job.offset
    return corrected_payload(document, error_s) if abs(error_s) >= JUMP_S else document


def _after(count: int, action: Callable[[], None]) -> Callable[[], None]:
    """What does ``action`` when it is called for the ``count``-th time."""
    if count == 1:
        return action
    left = iter(range(count - 1, -1, -1))

    def called() -> None:
        if next(left) == 0:
            action()

    return called
