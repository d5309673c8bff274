"""Sends requests to workers: one queue, a window for each worker, and who is to blame for a death."""

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from maas_agent.hub.serving.request import OnFull, Request
from maas_agent.ipc import InferenceRequest


class RequestSink(Protocol):
    """A worker, as far as it is sent requests."""

    def send(self, message: InferenceRequest) -> None:
        """Queue a request; it is on its way at the end of the turn."""
        ...


MAX_DEATHS = 2
MAX_QUEUE_BYTES = 64 << 20
"""Of requests that wait and may be dropped or refused: however few they are, they must not take all memory."""


class _Desk:
    """What one worker holds."""

    def __init__(self) -> None:
        self.held: OrderedDict[int, Request] = OrderedDict()
        self.busy_since = 0.0
        self.with_suspect = False


class Dispatcher:
    """Feeds workers in the order of arrival; the next input goes to the one that holds the fewest.

    A worker computes one input after the other, so when it dies any of those it held may be the reason. All of
    them are suspects: they go to a worker one at a time, and nothing else goes there with them. If that dies too, the
    one it held is to blame and is given up.

    An input whose time runs out while it waits goes to ``on_expired`` instead of a worker.
    """

    def __init__(self, window: int, queue: int, on_expired: Callable[[Request], None] = lambda _request: None) -> None:
        self._window, self._queue_bound, self._on_expired = window, queue, on_expired
        self._queue: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._desks: dict[RequestSink, _Desk] = {}
        self._resting = False
        self._sequence = itertools.count(1)
        self._droppable_waiting = self._droppable_bytes = self._waiting_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        """Inputs that have no answer yet."""
        return len(self._queue) + len(self._suspects) + self.outstanding

    @property
    def outstanding(self) -> int:
        """Inputs that workers hold."""
        return sum(len(desk.held) for desk in self._desks.values())

    def busy_since(self, worker: RequestSink) -> float | None:
        """Since when ``worker`` owes an answer, on the monotonic clock; ``None`` if it owes none."""
        desk = self._desks.get(worker)
        return desk.busy_since if desk is not None and desk.held else None

    def submit(self, request: Request) -> list[Request]:
        """Queue a request; returns those that were dropped for it: the oldest of those that make room."""
        self._queue.append(request)
        self._count_waiting(request, 1)
        self.pump()  # before anything is dropped: there may be room with a worker
        dropped = [self._drop_oldest()] if self._droppable_waiting > self._queue_bound else []
        while self._droppable_waiting > 1 and self._droppable_bytes > MAX_QUEUE_BYTES:
            dropped.append(self._drop_oldest())
        return dropped

    def is_full(self, size: int) -> bool:
        """Whether a request of ``size`` bytes finds more waiting than it may come behind."""
        waiting = len(self._queue) + len(self._suspects)
        return waiting >= self._queue_bound or (waiting > 0 and self._waiting_bytes + size > MAX_QUEUE_BYTES)

    def expire(self) -> None:
        """Give up the waiting inputs whose time has run out."""
        now = time.monotonic()
        for waiting in (self._suspects, self._queue):
            late = [request for request in waiting if _is_late(request, now)]
            if late:
                kept = [request for request in waiting if not _is_late(request, now)]
                waiting.clear()
                waiting.extend(kept)
            for request in late:
                self._count_waiting(request, -1)
                self._on_expired(request)

    def feed(self, worker: RequestSink) -> None:
        """Send requests to ``worker`` too from now on."""
        self._desks.setdefault(worker, _Desk())
        self._resting = False
        self.pump()

    def rest(self) -> None:
        """Send nothing to anybody until somebody new is fed: they finish what they hold."""
        self._resting = True

    def take_back(self, worker: RequestSink) -> None:
        """``worker`` gets nothing any more; what it holds was not its fault, and goes to others first of all."""
        desk = self._desks.pop(worker, None)
        if desk is not None:
            self._queue.extendleft(reversed(desk.held.values()))
            for request in desk.held.values():
                self._count_waiting(request, 1)

    def pump(self) -> None:
        """Fill the workers' windows from the queue; their channels send at the end of the turn."""
        if self._resting or not self._desks:
            return
        if self._suspects:
            self._try_suspect()
        while self._queue and (free := self._least_loaded()) is not None:
            request = self._take(self._queue)
            if request is not None:
                self._send(*free, request)

    def answered(self, worker: RequestSink, sequence: int) -> Request | None:
        """The request that ``sequence`` was the request of; ``None`` if it is not known any more."""
        desk = self._desks.get(worker)
        request = desk.held.pop(sequence, None) if desk is not None else None
        if desk is not None and request is not None:
            desk.with_suspect = False
            desk.busy_since = time.monotonic()
        return request

    def worker_died(self, worker: RequestSink) -> list[Request]:
        """Take back what ``worker`` held; returns the requests that are given up because they killed two workers."""
        desk = self._desks.pop(worker, None)
        requests = list(desk.held.values()) if desk is not None else []
        for request in requests:
            request.deaths += 1
        culprits = [request for request in requests if request.deaths >= MAX_DEATHS and len(requests) == 1]
        rest = [request for request in requests if request not in culprits]
        self._suspects.extendleft(reversed(rest))
        for request in rest:
            self._count_waiting(request, 1)
        return culprits

    def _try_suspect(self) -> None:
        """One worker at a time is risked, and only when it holds nothing that it could take with it."""
        worker, desk = next(iter(self._desks.items()))
        request = self._take(self._suspects) if not desk.held else None
        if request is not None:
            self._send(worker, desk, request)
            desk.with_suspect = True

    def _least_loaded(self) -> tuple[RequestSink, _Desk] | None:
        """A worker with room in its window; the first one is spared for suspects while there are any."""
        best: tuple[RequestSink, _Desk] | None = None
        for number, (worker, desk) in enumerate(self._desks.items()):
            spared = desk.with_suspect or (self._suspects and number == 0)
            if not spared and len(desk.held) < (len(best[1].held) if best else self._window):
                best = worker, desk
        return best

    def _take(self, waiting: deque[Request]) -> Request | None:
        """The first that is still wanted; those before it are given up."""
        while waiting:
            request = waiting.popleft()
            self._count_waiting(request, -1)
            if request.expires_at is None or not _is_late(request, time.monotonic()):
                return request
            self._on_expired(request)
        return None

    def _count_waiting(self, request: Request, change: int) -> None:
        self._waiting_bytes += change * len(request.payload)
        if request.on_full is OnFull.DROP_OLDEST:
            self._droppable_waiting += change
            self._droppable_bytes += change * len(request.payload)

    def _send(self, worker: RequestSink, desk: _Desk, request: Request) -> None:
        if not desk.held:
            desk.busy_since = time.monotonic()
        sequence = next(self._sequence)
        desk.held[sequence] = request
        worker.send(
            InferenceRequest(
                sequence, request.id, request.payload, request.content_type, request.arrived, request.arrived_at
            )
        )

    def _drop_oldest(self) -> Request:
        """Take away the request that has waited longest of those that make room; there is one."""
        waiting, index = next(
            (waiting, index)
            for waiting in (self._suspects, self._queue)
            for index, request in enumerate(waiting)
            if request.on_full is OnFull.DROP_OLDEST
        )
        request = waiting[index]
        del waiting[index]
        self._count_waiting(request, -1)
        self.dropped += 1
        return request


def _is_late(request: Request, now: float) -> bool:
    return request.expires_at is not None and request.expires_at <= now
