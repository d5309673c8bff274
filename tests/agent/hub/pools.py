"""What the hub's parts are given in the place of workers and of the loop: doubles that a test moves by hand.

`HandLoop` lets time pass, `FakePool` is told by the test what its workers do, and both remember what was asked of them.
"""

import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from maas_agent.hub.system.loop import Timer
from maas_agent.ipc import InferenceRequest, ToWorker


class HandLoop:
    """The loop without descriptors, and the module ``time`` as its parts see it: 1000 s after the machine's start."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Timer]] = []
        self._calls: list[Callable[[], None]] = []
        self._turn_end: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_790_000_000.0 + self.now

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        self._timers.append((self.now + seconds, timer))
        return timer

    def call(self, action: Callable[[], None]) -> None:
        self._calls.append(action)

    def at_turn_end(self, action: Callable[[], None]) -> None:
        self._turn_end.append(action)

    def turn(self) -> None:
        """What was put off to the next turn, and what is done at its end."""
        calls, self._calls = self._calls, []
        for action in [*calls, *self._turn_end]:
            action()

    def advance(self, seconds: float) -> None:
        """Let time pass, and do what is due in it, in order."""
        end = self.now + seconds
        self.turn()
        while due := [entry for entry in self._timers if entry[0] <= end + 1e-9]:
            first = min(due, key=lambda entry: entry[0])
            self._timers.remove(first)
            self.now = max(self.now, first[0])
            if first[1].action is not None:
                first[1].action()
            self.turn()
        self.now = end

    @property
    def waits_s(self) -> list[float]:
        """In how many seconds each timer that was not cancelled is due."""
        return sorted(round(at - self.now, 6) for at, timer in self._timers if timer.action is not None)


def hand_moved(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> HandLoop:
    """A loop whose clock these modules go by."""
    loop = HandLoop()
    for module in modules:
        monkeypatch.setattr(module, "time", loop)
    assert time is not loop
    return loop


class FakeWorker:
    """A worker process: ``sent`` is what the hub said to it, ``asked`` the requests among that."""

    def __init__(self, *, ready: bool = False) -> None:
        self.ready = ready
        self.runtime = "litert" if ready else ""
        self.freedom = ""
        self.pid = 4711
        self.started_at = 1000.0
        self.sent: list[ToWorker] = []
        self.killed_for: list[str] = []
        self.closed = False
        self.owes_a_pong = False
        self.silent = 0.0

    def send(self, message: ToWorker) -> None:
        self.sent.append(message)

    @property
    def asked(self) -> list[str]:
        return [message.id for message in self.sent if isinstance(message, InferenceRequest)]

    def is_ready(self, runtime: str, freedom: str = "") -> None:
        self.ready, self.runtime, self.freedom = True, runtime, freedom

    def receive(self) -> bool:
        return True

    def ping(self) -> None:
        self.owes_a_pong = True

    def silent_s(self, _busy_since: float | None) -> float:
        return self.silent

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def kill(self, reason: str) -> None:
        self.killed_for.append(reason)


class FakePool:
    """A pool of one worker, as switch and shadow see it. ``told`` is what was asked of it, in order."""

    def __init__(self, digest: str = "1" * 64, *, ready: bool = False, workers: int = 1) -> None:
        self.start: Any = SimpleNamespace(manifest=digest)
        self.version = "1.0.0"
        self.setup: Any = None
        self.workers: list[Any] = [FakeWorker(ready=ready) for _ in range(workers)]
        self.told: list[str] = []
        self.messages: list[ToWorker] = []
        self.drained = False
        self.ended = False
        self.silence_s = -1.0

    @property
    def worker(self) -> FakeWorker:
        (worker,) = self.workers
        return worker

    @property
    def ready(self) -> bool:
        return bool(self.workers) and all(worker.ready for worker in self.workers)

    @property
    def any_ready(self) -> bool:
        return any(worker.ready for worker in self.workers)

    def serve(self) -> None:
        self.told.append("serve")
        self.drained = False

    def stand_by(self) -> None:
        self.told.append("stand by")

    def drain(self) -> None:
        self.told.append("drain")

    def retire(self) -> None:
        self.told.append("retire")

    def kill(self, reason: str) -> None:
        self.told.append(f"kill: {reason}")

    def tell(self, message: ToWorker) -> None:
        self.messages.append(message)

    def flush(self) -> None: ...

    def check(self, _dispatcher: object) -> None: ...

    def most_silent_s(self, _dispatcher: object) -> float:
        return self.silence_s
