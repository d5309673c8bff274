"""Tells how the device is: status and metrics documents, readiness and the watchdog."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from maas_agent import __version__
from maas_agent.base.alarms import Alarm, Severity, bounded
from maas_agent.base.documents import rfc3339
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.hub.pipeline.supervisor import WAITS
from maas_agent.hub.system import store_folder
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.systemd import ServiceManager

NOT_SERVING = "not_serving"


class Health:
    """Watches the pipelines and tells the service manager."""

    def __init__(
        self,
        loop: Loop,
        device: str,
        groups: tuple[str, ...],
        pipelines: Iterable[Pipeline],
        outbox: Outbox,
        folder: Path,
        trouble: Callable[[], str | None],
    ) -> None:
        """``trouble`` tells what of the connection is to be mended, although there may be one right now."""
        self._trouble = trouble
        self._since: dict[Alarm, str] = {}
        self._loop, self._device, self._groups, self._outbox = loop, device, groups, outbox
        self._pipelines = list(pipelines)
        self._folder, self.store_alarms = folder, store_folder.alarms(folder)
        """The store, and what a person should know of its disk."""
        self._manager = ServiceManager()
        self._started = time.monotonic()
        self._ready = False
        if self._manager.watchdog_s:
            self._watch(self._manager.watchdog_s / 2)

    def changed(self) -> None:
        """A pipeline's state has changed: tell the service manager what that means for it."""
        serving = [pipeline.settings.name for pipeline in self._pipelines if pipeline.serving]
        waiting = [f"{p.settings.name} ({p.trouble})" for p in self._pipelines if not p.serving]
        parts = ([f"serving {', '.join(serving)}"] if serving else []) + (
            [f"not {', '.join(waiting)}"] if waiting else []
        )
        others = [alarm.text for alarm in self.alarms if alarm.code != NOT_SERVING]
        self._manager.status("; ".join([*parts, *others]) or "no pipelines configured")
        if not self._ready and (serving or not self._pipelines):
            self._ready = True
            self._manager.ready()

    @property
    def alarms(self) -> list[Alarm]:
        """What a person should look at: of the disk, of the connection, and of every pipeline."""
        present = bounded(self._found())
        now = rfc3339(time.time())
        self._since = {alarm: self._since.get(alarm, now) for alarm in present}
        return [msgspec.structs.replace(alarm, since=since) for alarm, since in self._since.items()]

    def _found(self) -> Iterator[Alarm]:
        yield from (Alarm("error", "store", text) for text in self.store_alarms)
        yield from (Alarm("error", "outbox", text) for text in self._outbox.alarms)
        if (trouble := self._trouble()) is not None:
            yield Alarm("warning", "connection", trouble)
        for pipeline in self._pipelines:
            yield from (Alarm("error", "source", text) for text in pipeline.alarms)
            if pipeline.trouble is not None and not pipeline.serving:
                severity: Severity = "warning" if pipeline.trouble == WAITS else "error"
                yield Alarm(severity, NOT_SERVING, f"{pipeline.settings.name} does not serve: {pipeline.trouble}")

    def look(self) -> bool:
        """Look at the disk of the store; whether there is something new to say."""
        before, self.store_alarms = self.store_alarms, store_folder.alarms(self._folder)
        return self.store_alarms != before

    def stopping(self) -> None:
        """The end has begun."""
        self._manager.stopping()

    def online(self) -> dict[str, Any]:
        """The status document while connected."""
        return {
            "status": "online",
            "device": self._device,
            "groups": self._groups,
            "agent": __version__,
            "time": rfc3339(time.time()),
            "uptime_s": round(time.monotonic() - self._started),
            "alarms": msgspec.to_builtins(self.alarms),
        }

    def metrics(self) -> dict[str, Any]:
        """The metrics document: counters since the start, latencies since the last call."""
        return {
            "device": self._device,
            "time": rfc3339(time.time()),
            "uptime_s": round(time.monotonic() - self._started),
            "outbox": self.outbox(),
            "pipelines": {
                p.settings.name: p.metrics.counters() | {"dropped": p.dropped, "latency_ms": p.metrics.latencies.take()}
                for p in self._pipelines
            },
        }

    def outbox(self) -> dict[str, Any]:
        """How full the outbox is."""
        outbox = self._outbox
        return {
            "results": len(outbox),
            "bytes": outbox.bytes,
            "on_disk_only": outbox.on_disk_only,
            "dropped": outbox.dropped,
            "unreadable": outbox.unreadable,
            "oldest_s": round(outbox.oldest_s, 1),
        }

    def _watch(self, interval_s: float) -> None:
        if all(pipeline.healthy for pipeline in self._pipelines):
            self._manager.alive()
        self._loop.after(interval_s, lambda: self._watch(interval_s))


def offline(device: str, groups: tuple[str, ...]) -> dict[str, Any]:
    """The Last Will: what the broker says when the device is gone without a word."""
    return {"status": "offline", "device": device, "groups": groups}


def stopped(device: str, groups: tuple[str, ...]) -> dict[str, Any]:
    """The farewell of a clean exit."""
    return {"status": "stopped", "device": device, "groups": groups, "time": rfc3339(time.time())}
