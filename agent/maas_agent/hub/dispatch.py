"""From inputs to a worker and back: one queue, a window of outstanding requests, and who is to blame for a death."""

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from maas_agent.hub.workers import WorkerProcess
from maas_agent.ipc import Request


class Job(msgspec.Struct):
    """An input on its way to an answer. ``out`` is the topic of its answer, with the id if the input's had one."""

    id: str
    payload: bytes
    content_type: str | None
    arrived: float
    arrived_at: float
    qos: int
    out: str
    response_topic: str | None
    correlation: bytes | None
    acknowledge: Callable[[], None]
    deaths: int = 0
    """Workers that died while this input was with them and may have been the reason."""


MAX_DEATHS = 2


class Dispatcher:
    """Feeds one worker at a time, in the order of arrival.

    A worker computes one input after the other, so when it dies any of those it held may be the reason. All of
    them go to its successor, one at a time: if that dies too, the one it held is to blame and is given up.
    """

    def __init__(self, window: int, queue: int) -> None:
        self._window, self._queue_bound = window, queue
        self._queue: deque[Job] = deque()
        self._outstanding: OrderedDict[int, Job] = OrderedDict()
        self._sequence = itertools.count(1)
        self._suspects = 0
        self._worker: WorkerProcess | None = None
        self._qos0_waiting = 0
        self.dropped = 0
        self.busy_since = 0.0

    def __len__(self) -> int:
        """Inputs that have no answer yet."""
        return len(self._queue) + len(self._outstanding)

    @property
    def outstanding(self) -> int:
        """Inputs that a worker holds."""
        return len(self._outstanding)

    def submit(self, job: Job) -> None:
        """Queue an input. Too many of QoS 0 push out the oldest of them; QoS 1 is bounded by the broker's window."""
        self._queue.append(job)
        if job.qos == 0:
            self._qos0_waiting += 1
        self.pump()  # before anything is dropped: there may be room with the worker
        if self._qos0_waiting > self._queue_bound:
            self._drop_oldest()

    def feed(self, worker: WorkerProcess | None) -> None:
        """Send requests to ``worker`` from now on, or to nobody."""
        self._worker = worker
        self.pump()

    def pump(self) -> None:
        """Fill the worker's window from the queue; its channel sends at the end of the turn."""
        worker = self._worker
        if worker is None or not self._queue:
            return
        window = 1 if self._suspects else self._window
        while self._queue and len(self._outstanding) < window:
            self._send(worker, self._take())

    def answered(self, sequence: int) -> Job | None:
        """The job that ``sequence`` was the request of; ``None`` if it is not known any more."""
        job = self._outstanding.pop(sequence, None)
        if job is not None:
            self._suspects -= self._suspects > 0
            self.busy_since = time.monotonic()
        return job

    def worker_died(self) -> list[Job]:
        """Take back what the worker held; returns the jobs that are given up because they killed two workers."""
        jobs = list(self._outstanding.values())
        self._outstanding.clear()
        self._worker = None
        for job in jobs:
            job.deaths += 1
        culprits = [job for job in jobs if job.deaths >= MAX_DEATHS and len(jobs) == 1]
        rest = [job for job in jobs if job not in culprits]
        self._queue.extendleft(reversed(rest))
        self._qos0_waiting += sum(job.qos == 0 for job in rest)
        self._suspects = max(self._suspects - len(culprits), len(rest))
        return culprits

    def _take(self) -> Job:
        job = self._queue.popleft()
        self._qos0_waiting -= job.qos == 0
        return job

    def _send(self, worker: WorkerProcess, job: Job) -> None:
        if not self._outstanding:
            self.busy_since = time.monotonic()
        sequence = next(self._sequence)
        self._outstanding[sequence] = job
        worker.send(Request(sequence, job.id, job.payload, job.content_type, job.arrived, job.arrived_at))

    def _drop_oldest(self) -> None:
        for index, job in enumerate(self._queue):
            if job.qos == 0:
                del self._queue[index]
                self._qos0_waiting -= 1
                self.dropped += 1
                return
