"""Runs a candidate in the shadow of the active bundle: it gets a copy of each live input, and is compared.

It has a worker and a short queue of its own. What it cannot keep up with is not compared, and nobody waits for it.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

import msgspec

from maas_agent.config import ShadowSettings
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.request import Nobody, OnFull, Request
from maas_agent.hub.serving.worker_pool import (
    NotStarted,
    OnPoolEvent,
    PoolEvent,
    WorkerDied,
    WorkerPool,
    WorkerReady,
    WorkerSaid,
)
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.takeover.comparison import ShadowComparison, hopeless, verdict
from maas_agent.ipc import Answer, Failed

_CHECK_S = 0.25
_QUEUE = 8
_UNPAIRED = 256
"""Answers that wait for the other one; of more the oldest are forgotten."""

OnJudged = Callable[[str | None], None]
"""Called once, with the reason why the candidate must not serve, or ``None``."""


class Shadow:
    """Runs one candidate until ``on_judged``. ``make_pool`` makes its worker, which tells its listener what it does."""

    def __init__(
        self, loop: Loop, terms: ShadowSettings, make_pool: Callable[[OnPoolEvent], WorkerPool], on_judged: OnJudged
    ) -> None:
        self._loop, self._terms, self._on_judged = loop, terms, on_judged
        self._dispatcher = Dispatcher(1, _QUEUE)
        self._unpaired: OrderedDict[str, list[Answer | None]] = OrderedDict()
        self._compared = ShadowComparison()
        self._failure = ""
        self._ended = False
        self._pool = make_pool(self._handle)
        self._check()

    @property
    def ended(self) -> bool:
        """Whether its process is gone, after `stop`."""
        return self._pool.ended

    def document(self) -> dict[str, Any]:
        """How far it is, for the state topic."""
        compared = self._compared
        return {
            "samples": compared.samples,
            "wanted": self._terms.samples,
            "agreement": round(compared.agreement, 4),
            "latency_ratio": round(compared.latency_ratio, 3),
        }

    def submit(self, request: Request) -> None:
        """An input is on its way to the active bundle: let the candidate answer it too."""
        if self._ended or not self._pool.ready or len(self._dispatcher) > _QUEUE:
            return
        self._expect(request.id)
        copy = msgspec.structs.replace(request, reply_to=Nobody(), on_full=OnFull.DROP_OLDEST, deaths=0)
        self._dispatcher.submit(copy)

    def answered(self, request_id: str, answer: Answer) -> None:
        """The active bundle has answered an input."""
        if request_id in self._unpaired and not self._ended:
            self._pair(request_id, 0, answer)

    def turn_end(self) -> None:
        """Send what was gathered."""
        if not self._ended:
            self._dispatcher.pump()
            self._pool.flush()

    def stop(self) -> None:
        """It is not wanted any more, or has been judged."""
        if not self._ended:
            self._ended = True
            self._pool.retire()

    # ------------------------------------------------------------- what the worker tells

    def _handle(self, event: PoolEvent) -> None:
        match event:
            case WorkerReady(_, worker):
                self._dispatcher.feed(worker)
            case WorkerSaid(_, worker, Answer(sequence=sequence) as answer) if sequence:
                request = self._dispatcher.answered(worker, sequence)
                if request is not None and request.id in self._unpaired and not self._ended:
                    self._pair(request.id, 1, answer)
            case WorkerSaid(_, _, Failed(reason=reason)):
                self._failure = f": {reason}"
            case WorkerSaid():
                pass
            case WorkerDied(_, _, how):  # on inputs that the active bundle has answered
                self._judge(f"in the shadow of the active bundle its worker {how}{self._failure}")
            case NotStarted(_, why):
                self._judge(f"in the shadow of the active bundle its worker {why}")
            case _:
                assert_never(event)

    # ------------------------------------------------------------- the comparison

    def _expect(self, request_id: str) -> None:
        self._unpaired[request_id] = [None, None]
        if len(self._unpaired) > _UNPAIRED:
            self._unpaired.popitem(last=False)

    def _pair(self, request_id: str, side: int, answer: Answer) -> None:
        pair = self._unpaired[request_id]
        pair[side] = answer
        active, candidate = pair
        if active is None or candidate is None:
            return
        del self._unpaired[request_id]
        compared, terms = self._compared, self._terms
        compared.add(active, candidate, terms.tolerance)
        if compared.samples >= terms.samples or hopeless(compared, terms):
            self._judge(verdict(compared, terms))

    def _judge(self, reason: str | None) -> None:
        if not self._ended:
            self.stop()
            # Not from within what its own worker has just said.
            self._loop.call(partial(self._on_judged, reason))

    def _check(self) -> None:
        if not self._ended:
            self._loop.after(_CHECK_S, self._check)
            self._pool.check(self._dispatcher)
