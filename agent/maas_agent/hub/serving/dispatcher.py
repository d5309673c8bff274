"""From inputs to workers and back: one queue, a window for each worker, and who is to blame for a death."""

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from maas_agent.hub.serving.request import Job
from maas_agent.ipc import Request


class Recipient(Protocol):
    """A worker, as far as it is sent requests."""

    def send(self, message: Request) -> None:
        """Queue a request; it is on its way at the end of the turn."""
        ...


MAX_DEATHS = 2
MAX_QUEUE_BYTES = 64 << 20
"""Of QoS 0 inputs that wait: however few they are, they must not take all memory."""


class _Desk:
    """What one worker holds."""

    def __init__(self) -> None:
        self.held: OrderedDict[int, Job] = OrderedDict()
        self.busy_since = 0.0
        self.with_suspect = False


class Dispatcher:
    """Feeds workers in the order of arrival; the next input goes to the one that holds the fewest.

    A worker computes one input after the other, so when it dies any of those it held may be the reason. All of
    them are suspects: they go to a worker one at a time, and nothing else goes there with them. If that dies too, the
    one it held is to blame and is given up.

    An input whose time runs out while it waits goes to ``on_expired`` instead of a worker.
    """

    def __init__(self, window: int, queue: int, on_expired: Callable[[Job], None] = lambda _job: None) -> None:
        self._window, self._queue_bound, self._on_expired = window, queue, on_expired
        self._queue: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._desks: dict[Recipient, _Desk] = {}
        self._resting = False
        self._sequence = itertools.count(1)
        self._qos0_waiting = self._qos0_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        """Inputs that have no answer yet."""
        return len(self._queue) + len(self._suspects) + self.outstanding

    @property
    def outstanding(self) -> int:
        """Inputs that workers hold."""
        return sum(len(desk.held) for desk in self._desks.values())

    def busy_since(self, worker: Recipient) -> float | None:
        """Since when ``worker`` owes an answer, on the monotonic clock; ``None`` if it owes none."""
        desk = self._desks.get(worker)
        return desk.busy_since if desk is not None and desk.held else None

    def submit(self, job: Job) -> list[Job]:
        """Queue an input; returns those that were dropped for it.

        Too many of QoS 0 push out the oldest of them; QoS 1 is bounded by the window of the connection.
        """
        self._queue.append(job)
        self._count_waiting(job, 1)
        self.pump()  # before anything is dropped: there may be room with a worker
        dropped = [self._drop_oldest()] if self._qos0_waiting > self._queue_bound else []
        while self._qos0_waiting > 1 and self._qos0_bytes > MAX_QUEUE_BYTES:
            dropped.append(self._drop_oldest())
        return dropped

    def expire(self) -> None:
        """Give up the waiting inputs whose time has run out."""
        now = time.monotonic()
        for waiting in (self._suspects, self._queue):
            late = [job for job in waiting if _is_late(job, now)]
            if late:
                kept = [job for job in waiting if not _is_late(job, now)]
                waiting.clear()
                waiting.extend(kept)
            for job in late:
                self._count_waiting(job, -1)
                self._on_expired(job)

    def feed(self, worker: Recipient) -> None:
        """Send requests to ``worker`` too from now on."""
        self._desks.setdefault(worker, _Desk())
        self._resting = False
        self.pump()

    def rest(self) -> None:
        """Send nothing to anybody until somebody new is fed: they finish what they hold."""
        self._resting = True

    def take_back(self, worker: Recipient) -> None:
        """``worker`` gets nothing any more; what it holds was not its fault, and goes to others first of all."""
        desk = self._desks.pop(worker, None)
        if desk is not None:
            self._queue.extendleft(reversed(desk.held.values()))
            for job in desk.held.values():
                self._count_waiting(job, 1)

    def pump(self) -> None:
        """Fill the workers' windows from the queue; their channels send at the end of the turn."""
        if self._resting or not self._desks:
            return
        if self._suspects:
            self._try_suspect()
        while self._queue and (free := self._least_loaded()) is not None:
            job = self._take(self._queue)
            if job is not None:
                self._send(*free, job)

    def answered(self, worker: Recipient, sequence: int) -> Job | None:
        """The job that ``sequence`` was the request of; ``None`` if it is not known any more."""
        desk = self._desks.get(worker)
        job = desk.held.pop(sequence, None) if desk is not None else None
        if desk is not None and job is not None:
            desk.with_suspect = False
            desk.busy_since = time.monotonic()
        return job

    def worker_died(self, worker: Recipient) -> list[Job]:
        """Take back what ``worker`` held; returns the jobs that are given up because they killed two workers."""
        desk = self._desks.pop(worker, None)
        jobs = list(desk.held.values()) if desk is not None else []
        for job in jobs:
            job.deaths += 1
        culprits = [job for job in jobs if job.deaths >= MAX_DEATHS and len(jobs) == 1]
        rest = [job for job in jobs if job not in culprits]
        self._suspects.extendleft(reversed(rest))
        for job in rest:
            self._count_waiting(job, 1)
        return culprits

    def _try_suspect(self) -> None:
        """One worker at a time is risked, and only when it holds nothing that it could take with it."""
        worker, desk = next(iter(self._desks.items()))
        job = self._take(self._suspects) if not desk.held else None
        if job is not None:
            self._send(worker, desk, job)
            desk.with_suspect = True

    def _least_loaded(self) -> tuple[Recipient, _Desk] | None:
        """A worker with room in its window; the first one is spared for suspects while there are any."""
        best: tuple[Recipient, _Desk] | None = None
        for number, (worker, desk) in enumerate(self._desks.items()):
            spared = desk.with_suspect or (self._suspects and number == 0)
            if not spared and len(desk.held) < (len(best[1].held) if best else self._window):
                best = worker, desk
        return best

    def _take(self, waiting: deque[Job]) -> Job | None:
        """The first that is still wanted; those before it are given up."""
        while waiting:
            job = waiting.popleft()
            self._count_waiting(job, -1)
            if job.expires_at is None or not _is_late(job, time.monotonic()):
                return job
            self._on_expired(job)
        return None

    def _count_waiting(self, job: Job, change: int) -> None:
        if job.qos == 0:
            self._qos0_waiting += change
            self._qos0_bytes += change * len(job.payload)

    def _send(self, worker: Recipient, desk: _Desk, job: Job) -> None:
        if not desk.held:
            desk.busy_since = time.monotonic()
        sequence = next(self._sequence)
        desk.held[sequence] = job
        worker.send(Request(sequence, job.id, job.payload, job.content_type, job.arrived, job.arrived_at))

    def _drop_oldest(self) -> Job:
        """Take away the QoS 0 input that has waited longest; there is one."""
        waiting, index = next(
            (waiting, index)
            for waiting in (self._suspects, self._queue)
            for index, job in enumerate(waiting)
            if job.qos == 0
        )
        job = waiting[index]
        del waiting[index]
        self._count_waiting(job, -1)
        self.dropped += 1
        return job


def _is_late(job: Job, now: float) -> bool:
    return job.expires_at is not None and job.expires_at <= now
