"""Runs the worker process: everything that can crash, hang or leak, behind one socket to the hub."""

import contextlib
import os
import random
import selectors
import socket
import string
import time
from functools import partial
from pathlib import Path

import msgspec

from maas_agent.base import codes
from maas_agent.base.log import Log
from maas_agent.bundle.staged import Staged
from maas_agent.errors import BundleError, MaasError, brief
from maas_agent.host.descendants import mark_of
from maas_agent.ipc import (
    Alive,
    Answer,
    Channel,
    Drain,
    Drained,
    Failed,
    InferenceRequest,
    Mirror,
    Ping,
    Pong,
    Ready,
    Serve,
    Start,
    ToWorker,
)
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.interface import Accelerator
from maas_agent.runtime.selection import accelerator
from maas_agent.trials.confined import hint, hold
from maas_agent.trials.limits import bound_memory, share_device
from maas_agent.worker.engine import Engine
from maas_agent.worker.sources.interface import LocalSource, Reading
from maas_agent.worker.sources.program import Program
from maas_agent.worker.sources.selection import access_of, local_source, program_of

_FLUSH_S = 0.001
"""Answers are gathered for so long while more requests wait: one system call and one wake-up of the hub for many."""

_INPUT_BYTES = 64 << 20
"""What a limit on memory leaves for an input while it is decoded: it is the model's memory that is limited."""


class Worker:
    """Serves one bundle. Single-threaded: requests, pings and the local source take turns."""

    def __init__(
        self, channel: Channel[ToWorker], start: Start, engine: Engine, log: Log, program: Program | None
    ) -> None:
        self._channel = channel
        self._engine = engine
        self._new_source = partial(local_source, start.source, start.max_payload_bytes, log, program)
        self._source = self._new_source()
        self._told = self._source.condition if self._source else None
        self._mirror = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._watched: int | None = None
        # Ids of a local source are unique over restarts: a random start, then a count.
        self._run = "".join(random.choices(string.ascii_lowercase + string.digits, k=8))
        self._count = 0
        self._flushed_at = 0.0

    def run(self) -> None:
        """Work until the hub closes its end."""
        if self._source is None:
            while self._obey():  # nothing else to wait for: one system call less for each request
                pass
            return
        try:
            while self._turn():
                pass
        finally:
            self._close_source()  # also where the hub went in the middle of an answer

    def _turn(self) -> bool:
        """Wait for the hub, the source or a time, and do what there is; ``False`` at the end."""
        self._watch_source()
        self._tell_condition()
        for key, _ in self._selector.select(self._source.wake_in() if self._source else None):
            if key.fileobj is not self._channel:
                readings = self._source.read() if self._source else []
                # At once: the next program may get the number of the descriptor that was just closed.
                self._watch_source()
                self._take(readings)
            elif not self._obey():
                return False
        if self._source:
            self._take(self._source.tick())
        return True

    def _obey(self) -> bool:
        messages = self._channel.receive()
        if messages is None:
            return False
        for message in messages:
            self._handle(message)
            self._flush_if_due()
        self._channel.flush()
        return True

    def _handle(self, message: ToWorker) -> None:
        match message:
            case InferenceRequest():
                self._channel.put(self._engine.answer(message))
            case Ping(number=number):
                self._channel.put(Pong(number))
            case Serve():
                self._open_source()
            case Mirror(on=on):
                self._mirror = on
            case Drain():
                source = self._source
                self._take(self._close_source(), source)
                self._channel.put(Drained())
            case Start():
                raise BundleError("a worker is started once")

    def _take(self, readings: list[Reading], source: LocalSource | None = None) -> None:
        """Answer readings of the source, by default of the one that is open."""
        for reading in readings:
            self._channel.put(self._answer_reading(reading))
            self._flush_if_due()
        self._channel.flush()
        source = source or self._source
        if source is not None:
            for reading in readings:
                source.done(reading)

    def _answer_reading(self, reading: Reading) -> Answer:
        self._count += 1
        request = InferenceRequest(
            sequence=0,
            id=f"{self._run}-{self._count}",
            payload=reading.payload,
            content_type=reading.content_type,
            arrived=time.time(),
            arrived_at=time.monotonic(),
        )
        if reading.error is not None:
            return self._engine.error(request, codes.TOO_LARGE, reading.error)
        answer = self._engine.answer(request)
        if self._mirror:
            return msgspec.structs.replace(answer, sample=(reading.payload, reading.content_type))
        return answer

    def _flush_if_due(self) -> None:
        now = time.monotonic()
        if now - self._flushed_at >= _FLUSH_S:
            self._channel.flush()
            self._flushed_at = now

    def _watch_source(self) -> None:
        """Follow the source's descriptor, which changes when its program or device is opened again."""
        descriptor = self._source.fileno() if self._source else None
        if descriptor == self._watched:
            return
        if self._watched is not None:
            self._selector.unregister(self._watched)
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._watched = descriptor

    def _tell_condition(self) -> None:
        """How the source is, if that has changed."""
        condition = self._source.condition if self._source else None
        if condition != self._told:
            self._told = condition
            if condition is not None:
                self._channel.put(condition)
                self._channel.flush()

    def _open_source(self) -> None:
        if self._source is None:
            self._source = self._new_source()  # it was drained, and comes back
        if self._source is not None:
            self._source.start()
            self._told = None  # from now on the hub wants to know

    def _close_source(self) -> list[Reading]:
        if not self._source:
            return []
        if self._watched is not None:
            self._selector.unregister(self._watched)
            self._watched = None
        readings, self._source = self._source.stop(), None
        return readings


class Pulse:
    """Tells the hub now and then that a long batch goes on, so that only a hang looks like one."""

    def __init__(self, channel: Channel[ToWorker], every_s: float) -> None:
        self._channel, self._every_s = channel, every_s
        self._told_at = time.monotonic()

    def beat(self) -> None:
        """An inference has ended."""
        now = time.monotonic()
        if now - self._told_at >= self._every_s:
            self._told_at = now
            self._channel.put(Alive())
            self._channel.flush()


def serve(end: socket.socket) -> int:
    """Run a worker on its end of the socketpair; returns the exit status."""
    channel: Channel[ToWorker] = Channel(end, ToWorker)
    start = _first_message(channel)
    if start is None:
        return 0
    log = Log(f"worker {start.pipeline}")
    try:
        began = time.monotonic()
        setup = start.setup
        share_device(start.limits)
        mark = mark_of(Path(start.store), os.getpid())
        program = program_of(start.source, mark, fork=True, close=[channel.fileno()])
        staged = Staged(Path(start.store), start.manifest)
        freedom = hold(setup, start.limits, staged.files, access_of(start.source))
        chosen = accelerator(setup.accelerator, setup.options, setup.library)
        runtime = chosen.runtime()  # loads the library: the bound is on what the bundle takes beyond it
        if start.limits.memory_bytes:
            bound_memory(setup, start.limits.memory_bytes + _INPUT_BYTES)
        pulse = Pulse(channel, start.heartbeat_s)
        graph = _loaded(staged, setup.threads, chosen)
        engine = Engine(graph, start.device, start.pipeline, start.form, pulse.beat)
    except (MaasError, MemoryError, OSError) as error:
        reason = (brief(error) or "there is not enough memory") + hint(start.setup, start.limits)
        log.error("cannot serve", setup=start.setup, reason=reason)
        channel.put(Failed(reason, not_whole=isinstance(error, BundleError)))
        channel.flush()
        return 1
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the hub is gone, and with it the reason to be
        channel.put(Ready(runtime, round((time.monotonic() - began) * 1000, 1), freedom))
        channel.flush()
        Worker(channel, start, engine, log, program).run()
    return 0


def _first_message(channel: Channel[ToWorker]) -> Start | None:
    while (messages := channel.receive()) is not None:
        if messages:
            if len(messages) != 1 or not isinstance(messages[0], Start):
                raise BundleError("the first message to a worker starts it, and nothing else comes before its answer")
            return messages[0]
    return None


def _loaded(staged: Staged, threads: int, chosen: Accelerator) -> Graph:
    graph = Graph(staged.manifest, staged.path, chosen, threads)
    graph.warm()
    return graph
