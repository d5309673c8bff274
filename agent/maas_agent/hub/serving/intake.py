"""Leads a request through a pipeline, whichever front end took it: in, to a worker, and back with one answer."""

from maas_agent.base import codes
from maas_agent.base.log import Log
from maas_agent.config import PipelineSettings
from maas_agent.hub.serving.dead_letters import DeadLetters
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.reorder_buffer import ReorderBuffer
from maas_agent.hub.serving.replies import Replies
from maas_agent.hub.serving.request import OnFull, Request
from maas_agent.hub.serving.worker_pool import WorkerPool
from maas_agent.ipc import Answer

_EXPIRED = "the time for which its answer is wanted ran out before a worker was free for it"


class Intake:
    """Takes requests, hands them to the dispatcher, and sees to it that each gets exactly one answer.

    Where the pipeline's answers are ordered, refusals take their turn like results.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        replies: Replies,
        metrics: PipelineMetrics,
        dead_letters: DeadLetters,
        log: Log,
    ) -> None:
        self._settings, self._replies, self._metrics, self._log = settings, replies, metrics, log
        self._dead_letters = dead_letters
        self._order = ReorderBuffer() if settings.ordered else None
        self.dispatcher = Dispatcher(settings.window, settings.queue, self._expired)

    def submit(self, request: Request, *, size: int | None = None) -> bool:
        """Take a request; it is answered by its `ReplyTo`. Returns whether a worker is going to see it.

        ``size`` is how many bytes came, where the front end has kept fewer.
        """
        self._arrived(request)
        size, limit = len(request.payload) if size is None else size, self._settings.max_payload_bytes
        if size > limit:
            self._refuse(request, codes.TOO_LARGE, f"{size} bytes, at most {limit} are taken")
            return False
        if request.on_full is OnFull.REFUSE and self.dispatcher.is_full(size):
            self._overloaded(request)
            return False
        for pushed_out in self.dispatcher.submit(request):
            self._overloaded(pushed_out)
        return True

    def refuse(self, request: Request, code: str, message: str) -> None:
        """Answer a request with an error without showing it to a worker."""
        self._arrived(request)
        self._refuse(request, code, message)

    def answered(self, request: Request, answer: Answer) -> None:
        """A worker has answered."""
        if self._order is None:
            self._replies.reply(request, answer)
        else:
            self._order.done(request.ticket, lambda: self._replies.reply(request, answer))

    def given_up(self, request: Request, pool: WorkerPool, how: str) -> None:
        """A request has ended two workers: it is answered with an error, and kept for diagnosis."""
        name = self._settings.name
        self._log.error("input given up", pipeline=name, id=request.id, workers_lost=request.deaths)
        self._dead_letters.keep(request, pool.version, pool.start.manifest, str(pool.setup), how)
        self._refuse(request, codes.WORKER_DIED, "two workers died while they had this input")

    def _arrived(self, request: Request) -> None:
        self._metrics.received += 1
        if self._order is not None:
            request.ticket = self._order.take()

    def _expired(self, request: Request) -> None:
        self._refuse(request, codes.EXPIRED, _EXPIRED)

    def _overloaded(self, request: Request) -> None:
        waiting = self._settings.queue
        self._refuse(request, codes.OVERLOADED, f"more inputs wait than the {waiting} that the pipeline's queue holds")

    def _refuse(self, request: Request, code: str, message: str) -> None:
        if self._order is None:
            self._replies.refuse(request, code, message)
        else:
            self._order.done(request.ticket, lambda: self._replies.refuse(request, code, message))
