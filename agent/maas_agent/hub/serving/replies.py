"""Counts answers, dates them right, and hands them to whoever asked."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from maas_agent.base import codes
from maas_agent.base.documents import ErrorDetail, ErrorDocument, encode, rfc3339
from maas_agent.host.clock import JUMP_S, wall_offset
from maas_agent.hub.outbox.rewrite import corrected_payload
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.request import Request
from maas_agent.ipc import Answer


class Samples(Protocol):
    """Where the answers to samples of the pipeline's own source go."""

    def publish(self, answer: Answer) -> None:
        """Hand one over."""
        ...


class Replies:
    """Sends one pipeline's answers: to requests by their own way, to samples of the local source to ``samples``."""

    def __init__(self, device: str, pipeline: str, samples: Samples, metrics: PipelineMetrics) -> None:
        self._device, self._pipeline = device, pipeline
        self._samples, self._metrics = samples, metrics
        self.listener: Callable[[Answer], None] | None = None
        """Told each answer, whoever it goes to."""

    def reply(self, request: Request, answer: Answer) -> None:
        """Answer a request."""
        self._note(answer)
        request.reply_to.reply(request, _dated(request, answer))

    def report(self, answer: Answer) -> None:
        """Publish the answer to a sample of the worker's own source."""
        self._metrics.received += 1
        self._note(answer)
        self._samples.publish(answer)

    def refuse(self, request: Request, code: str, message: str) -> None:
        """Answer a request with an error that no worker has seen."""
        document = ErrorDocument(
            id=request.id,
            time=rfc3339(request.arrived),
            device=self._device,
            pipeline=self._pipeline,
            error=ErrorDetail(code, message),
        )
        self.reply(request, Answer(0, request.id, encode(document), 0.0, code))

    def _note(self, answer: Answer) -> None:
        if answer.code is None:
            self._metrics.answered += 1
            self._metrics.out_of_range += answer.outside
            self._metrics.latencies.add(answer.latency_ms)
        else:
            # A worker is not trusted: it cannot make the counters grow without end.
            self._metrics.errors[answer.code if answer.code in codes.MEANING else codes.INTERNAL] += 1
        if self.listener is not None:
            self.listener(answer)


def _dated(request: Request, answer: Answer) -> Answer:
    """The answer with the right time, if the wall clock was set while the input waited for it."""
    error_s = 0.0 if request.offset is None else wall_offset() - request.offset
    if abs(error_s) < JUMP_S:
        return answer
    return msgspec.structs.replace(answer, document=corrected_payload(answer.document, error_s))
