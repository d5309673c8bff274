"""Runs the hub's loop: descriptors, timers and what is to be done at the end of a turn, in one thread."""

import contextlib
import errno
import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

Action = Callable[[], None]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""No descriptor, memory or process is left: what was begun failed, and may go well later."""


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


OnEvent = Callable[[bool, bool], None]
"""Called with (readable, writable)."""


class Timer:
    """A pending `Loop.after`; `cancel` makes it never happen."""

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        """Forget the action."""
        self.action = None


class Loop:
    """Runs until `stop`. Only `call` may be used from another thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, OnEvent] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._turn_end: list[Action] = []
        self._calls: deque[Action] = deque()
        self._running = False
        self.on_exhausted: Callable[[OSError], None] | None = None
        """Called where something wanted a descriptor, memory or a process, and there was none; without it the loop
        ends with that error."""
        self._wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, self._woken)

    def watch(self, what: HasFileno | int, on_event: OnEvent, *, write: bool = False) -> None:
        """Call ``on_event`` when ``what`` is readable, or writable too if ``write``; replaces an earlier watch."""
        descriptor = what if isinstance(what, int) else what.fileno()
        events = select.EPOLLIN | (select.EPOLLOUT if write else 0)
        if descriptor in self._handlers:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._handlers[descriptor] = on_event

    def unwatch(self, what: HasFileno | int) -> None:
        """Forget ``what``; it may be closed already, which the kernel has noticed by itself."""
        descriptor = what if isinstance(what, int) else what.fileno()
        if self._handlers.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def after(self, seconds: float, action: Action) -> Timer:
        """Do ``action`` once, ``seconds`` from now on the monotonic clock."""
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def at_turn_end(self, action: Action) -> None:
        """Do ``action`` at the end of every turn: that is where what was gathered is sent."""
        self._turn_end.append(action)

    def call(self, action: Action) -> None:
        """Do ``action`` in the next turn; safe from other threads and signal handlers."""
        self._calls.append(action)
        with contextlib.suppress(OSError):  # it is full of wake-ups already, or closed
            os.write(self.wake_write, b"\0")

    def run(self) -> None:
        """Turn until stopped."""
        self._running = True
        while self._running:
            ready = [(fd, self._handlers.get(fd), events) for fd, events in self._epoll.poll(self._wait_s())]
            for descriptor, handler, events in ready:
                # An earlier event of this turn may have taken this descriptor away, or given its number to another.
                if handler is not None and self._handlers.get(descriptor) == handler:
                    try:
                        handler(bool(events & ~select.EPOLLOUT), bool(events & select.EPOLLOUT))
                    except OSError as error:
                        self._failed(error)
            self._run_calls()
            self._run_timers()
            for action in self._turn_end:
                self._do(action)

    def stop(self) -> None:
        """End `run` after this turn."""
        self._running = False

    def close(self) -> None:
        """Free the loop's own descriptors."""
        self._epoll.close()
        os.close(self._wake_read)
        # A thread may still `call`: it must not write to whatever gets this number next.
        wake_write, self.wake_write = self.wake_write, -1
        os.close(wake_write)

    def _wait_s(self) -> float | None:
        if self._calls:
            return 0
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_calls(self) -> None:
        for _ in range(len(self._calls)):
            self._do(self._calls.popleft())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            action, timer.action = timer.action, None
            if action is not None:
                self._do(action)

    def _do(self, action: Action) -> None:
        try:
            action()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """One thing that somebody wanted; that there is nothing left to do it with must not end all others."""
        if self.on_exhausted is None or error.errno not in _EXHAUSTED:
            raise error
        self.on_exhausted(error)

    def _woken(self, _readable: bool, _writable: bool) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return


def every(loop: Loop, seconds: float, action: Action) -> None:
    """Do ``action`` every so many seconds."""

    def tick() -> None:
        loop.after(seconds, tick)
        action()

    loop.after(seconds, tick)
