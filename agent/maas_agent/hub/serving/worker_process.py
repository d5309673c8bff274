"""Starts a worker process, speaks with it, watches it, ends it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from maas_agent.base.log import Log
from maas_agent.config import MqttSource
from maas_agent.host import descendants
from maas_agent.hub.system.cgroups import MemoryGroups
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.process import Child, describe_exit, end_group, wait_for
from maas_agent.hub.system.scheduling import may_step_forward, step_back, step_forward
from maas_agent.ipc import Channel, Ping, Pong, Start, ToHub, ToWorker

_KILL_AFTER_S = 5.0
_LONGEST_BEHIND_S = 5.0
"""On a device that is always busy a worker that gives way to everybody would never be ready."""


_SPARE = 16
"""Descriptors for the broker, the journal, whoever asks on the control socket, and a puller."""


class WorkerProcess:
    """Runs one worker. ``on_message`` gets what it says, ``on_exit`` how it ended (a sentence), after its last message.

    A ``gentle`` one gives way to others until it is ready. Raises ``OSError`` if it cannot be started.
    """

    def __init__(
        self,
        loop: Loop,
        start: Start,
        log: Log,
        on_message: Callable[["WorkerProcess", ToHub], None],
        on_exit: Callable[["WorkerProcess", str], None],
        *,
        gentle: bool = False,
        groups: MemoryGroups | None = None,
    ) -> None:
        self.setup = start.setup
        self.ready = False
        self.runtime = self.freedom = ""
        self._killed_for = ""
        self._loop, self._log = loop, log
        self._on_message, self._on_exit = on_message, on_exit
        self._pings_owed = 0
        self.started_at = self.heard_at = self.asked_at = time.monotonic()
        child = Child("maas_agent.worker", spare=_SPARE)
        self._channel: Channel[ToHub] = Channel(child.socket, ToHub)
        self.pid, self._pidfd = child.pid, child.pidfd
        self._behind = gentle and may_step_forward()
        if self._behind:
            step_back(self.pid)
            loop.after(_LONGEST_BEHIND_S, self._step_forward)
        # What its source starts is in groups of its own.
        has_source = not isinstance(start.source, MqttSource)
        self._mark = descendants.mark_of(Path(start.store), self.pid) if has_source else None
        self._groups = groups if start.limits.memory_bytes else None
        if self._groups is not None:
            self._groups.bound(self.pid, start.limits.memory_bytes)
        loop.watch(self._channel, self._on_event)
        loop.watch(self._pidfd, lambda *_: self._exited())
        self._write_watched = False
        self._open = True
        self.send(start)
        self.flush()

    def is_ready(self, runtime: str, freedom: str) -> None:
        """It has loaded the bundle, and may be given work."""
        self.ready, self.runtime, self.freedom = True, runtime, freedom
        self._step_forward()

    def _step_forward(self) -> None:
        if self._behind and self.running:
            self._behind = False
            step_forward(self.pid)

    def send(self, message: ToWorker) -> None:
        """Queue a message; `flush` sends it."""
        self._channel.put(message)

    def ping(self) -> None:
        """Ask whether it is alive."""
        self._pings_owed += 1
        self.asked_at = time.monotonic()
        self.send(Ping(self._pings_owed))

    @property
    def owes_a_pong(self) -> bool:
        """Whether a ping has not been answered yet."""
        return self._pings_owed > 0

    def flush(self) -> None:
        """Send what is queued, as far as the kernel takes it."""
        if not self._open or not self._channel.pending:
            return
        try:
            done = self._channel.flush()
        except OSError:
            return  # it is dead; the pidfd will say so
        if done == self._write_watched:
            self._write_watched = not done
            self._loop.watch(self._channel, self._on_event, write=not done)

    def kill(self, reason: str) -> None:
        """End it at once: it hangs, or is not wanted any more."""
        self._log.warning("killing a worker", pid=self.pid, reason=reason)
        self._killed_for = reason
        end_group(self.pid)

    def close(self) -> None:
        """Let it end by itself: it does so when its socket closes. If it does not, it is killed."""
        if not self._open:
            return
        self.receive()
        self._close_channel()
        step_back(self.pid)  # taking itself down is work too, and nobody waits for that
        self._loop.after(_KILL_AFTER_S, lambda: self.kill("it did not end") if self.running else None)

    def silent_s(self, busy_since: float | None) -> float:
        """Seconds for which it has said nothing although it owes something: its readiness, a pong or an answer."""
        now = time.monotonic()
        if not self.ready:
            return now - self.started_at
        if not self.owes_a_pong and busy_since is None:
            return 0.0
        return now - max(self.heard_at, busy_since or 0.0, self.asked_at if self.owes_a_pong else 0.0)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._pidfd >= 0

    def _on_event(self, readable: bool, writable: bool) -> None:
        if writable:
            self.flush()
        if readable and not self.receive():
            self._loop.unwatch(self._channel)  # the pidfd says how it ended

    def receive(self) -> bool:
        """Read what it has said until now; ``False`` if nothing more can come."""
        try:
            messages = self._channel.receive()
        except msgspec.DecodeError as error:
            self.kill(f"it said something that is no message: {error}")
            return False
        if messages is None:
            return False
        if messages:
            self.heard_at = time.monotonic()
        for message in messages:
            if isinstance(message, Pong):
                self._pings_owed = 0
            self._on_message(self, message)
        return True

    def _exited(self) -> None:
        status = wait_for(self.pid)
        self._loop.unwatch(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._end_what_is_left()
        if self._groups is not None:
            self._groups.forget(self.pid)
        if self._open:
            while self._channel.fileno() >= 0 and self._last_words():
                pass
            self._close_channel()
        how = describe_exit(status)
        self._on_exit(self, f"{how} ({self._killed_for})" if self._killed_for else how)

    def _end_what_is_left(self) -> None:
        """A program that outlives its worker would keep the device from the one of the next worker."""
        end_group(self.pid)
        if self._mark is not None and (count := descendants.kill(self._mark)):
            self._log.warning("ended what a source left behind", worker=self.pid, processes=count)

    def _last_words(self) -> bool:
        """Read what it had sent before it died."""
        before = self.heard_at
        return self.receive() and self.heard_at != before

    def _close_channel(self) -> None:
        self._open = False
        self._loop.unwatch(self._channel)
        self._channel.close()
