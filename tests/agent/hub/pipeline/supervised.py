"""A pipeline's supervisor with all its rules and its file, on workers, trials and a clock that a test moves by hand."""

from pathlib import Path
from typing import Any

import pytest

from maas_agent.config import CommandSource, MqttSource, PipelineSettings, ShadowSettings, UpdateSettings
from maas_agent.hub.pipeline import supervisor as supervising
from maas_agent.hub.pipeline.supervisor import Supervisor, SupervisorEvent
from maas_agent.hub.placement import placement as placing
from maas_agent.hub.serving import dispatcher as dispatching
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.request import Nobody, Request
from maas_agent.hub.serving.worker_pool import WorkerDied, WorkerReady, WorkerSaid
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover import state_store
from maas_agent.hub.takeover import takeover as taking_over
from maas_agent.hub.takeover.pipeline_state import PipelineState
from maas_agent.ipc import Answer
from maas_agent.trials.record import Trial, Trials
from maas_agent.update.protocol import Outcome, PullProgress, Step
from tests.agent.hub.doubles import Lines
from tests.agent.hub.pools import FakePool, FakeWorker, HandLoop, hand_moved

STEPS: tuple[Step, ...] = ("pulling", "verifying", "staged", "testing")
_SAVE = state_store.save
HARDWARE, RUNTIME = "this machine", "litert 2"


def digest_of(version: str) -> str:
    return version[0] * 64


class Pool(FakePool):
    """A pool that the supervisor made; ``on_event`` gets what the test says of its workers."""

    def __init__(
        self, _services: Any, start: Any, version: str, replicas: int, _deadlines: Any, on_event: Any, *, gentle: bool
    ) -> None:
        super().__init__(start.manifest, workers=replicas)
        self.start, self.setup, self.version = start, start.setup, version
        self.on_event, self.gentle = on_event, gentle


class FakeTrial:
    """A trial process: ``assignment`` is what it is to try, ``report`` says what came of it."""

    def __init__(self, _loop: Any, assignment: Any, on_report: Any) -> None:
        self.assignment, self.report = assignment, on_report
        self.killed = False

    def kill(self) -> None:
        self.killed = True


class Supervised:
    """One pipeline. ``pools`` are those that were made, in order; ``said`` the events that the supervisor told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.loop: HandLoop = hand_moved(monkeypatch, supervising, taking_over, placing, dispatching)
        self.pools: list[Pool] = []
        self.testers: list[FakeTrial] = []
        self.said: list[SupervisorEvent] = []
        self.hardware = HARDWARE
        monkeypatch.setattr(supervising, "WorkerPool", self._made)
        monkeypatch.setattr(placing, "TrialProcess", self._tried)
        monkeypatch.setattr(placing, "fingerprint", lambda _library: self.hardware)
        monkeypatch.setattr(placing, "runtime_version", lambda _library: RUNTIME)
        self.log, self.metrics = Lines(), PipelineMetrics()

    def _made(self, *given: Any, **named: Any) -> Pool:
        self.pools.append(Pool(*given, **named))
        return self.pools[-1]

    def _tried(self, *given: Any) -> FakeTrial:
        self.testers.append(FakeTrial(*given))
        return self.testers[-1]

    def begin(self, *, has_source: bool = False, shadow: ShadowSettings | None = None, **terms: Any) -> "Supervised":
        """A device that has no bundle yet."""
        source = CommandSource(command=("true",)) if has_source else MqttSource()
        self.settings = PipelineSettings("p", model="m", source=source, update=UpdateSettings(shadow=shadow, **terms))
        loop: Any = self.loop
        self.dispatcher = Dispatcher(4, 100)
        services = Services(loop, self.folder, "dev", self.log)
        self.supervisor = Supervisor(services, self.settings, self.dispatcher, self.metrics, self.said.append)
        self.supervisor.start()
        return self

    def serving(self, version: str = "1.0.0", rows: tuple[Trial, ...] = (), **named: Any) -> "Supervised":
        """A device that serves this version, and nothing else happens."""
        self.begin(**named)
        self.brought(version, trials=self.trials(*rows))
        self.warm()
        self.loop.turn()
        assert (self.state.update.state, self.active) == ("active", version)
        self.said.clear()
        return self

    # ------------------------------------------------------------- what happens

    def pulled(self, version: str) -> None:
        for step in STEPS:
            self.supervisor.progress(PullProgress("p", step, version, digest_of(version)))

    def brought(self, version: str, *, trials: Trials | None = None) -> None:
        """The puller brings a bundle, which passes its self-test."""
        self.pulled(version)
        self.supervisor.conclude(
            Outcome(
                pipeline="p",
                result="tested",
                state="testing",
                version=version,
                digest=digest_of(version),
                trials=trials or self.trials(),
            )
        )

    def trials(self, *rows: Trial, hardware: str = HARDWARE) -> Trials:
        return Trials(runtime=RUNTIME, hardware=hardware, terms=self.settings.terms(), rows=rows)

    def warm(self, number: int = -1) -> None:
        """The workers of a pool are warm."""
        pool = self.pools[number]
        for worker in pool.workers:
            worker.is_ready("litert")
            pool.on_event(WorkerReady(pool, worker))  # type: ignore[arg-type]
        self.drained()

    def drained(self) -> None:
        """Whoever gives way has nothing left."""
        for pool in self.pools:
            pool.drained = bool(pool.told) and pool.told[-1] == "drain"
        self.loop.turn()

    def restarted(self) -> None:
        """The newest pool has the worker that it started for the one that died, and it is warm."""
        pool: Any = self.pools[-1]
        pool.workers.append(FakeWorker())
        self.warm()

    def dies(self, number: int = -1, how: str = "crashed") -> None:
        pool = self.pools[number]
        worker: Any = pool.workers.pop()
        anything: Any = pool
        pool.on_event(WorkerDied(anything, worker, how))

    def says(self, message: Any, number: int = -1) -> None:
        pool: Any = self.pools[number]
        pool.on_event(WorkerSaid(pool, pool.worker, message))

    def answer(self, code: str | None = None, count: int = 1) -> None:
        """Whoever serves answers inputs."""
        for _ in range(count):
            request = Request("1", b"", None, 0.0, 0.0, Nobody())
            answer = Answer(1, "1", b"{}", 1.0, code, took_ms=1.0)
            self.supervisor.takeover.answered(request, answer)

    def answer_sample(self) -> None:
        self.supervisor.takeover.answered(None, Answer(0, "s", b"{}", 1.0, None, took_ms=1.0))

    def disk_is_full(self, is_full: bool = True) -> None:
        def save(*_given: Any) -> None:
            raise OSError(28, "No space left on device")

        self.monkeypatch.setattr(state_store, "save", save if is_full else _SAVE)

    # ------------------------------------------------------------- how it is

    @property
    def state(self) -> PipelineState:
        return self.supervisor.slots

    @property
    def saved(self) -> PipelineState:
        """What the next start would find, had the device been cut off now."""
        return state_store.load(self.folder, "p", lambda text: pytest.fail(text))

    @property
    def active(self) -> str | None:
        return self.state.active.version if self.state.active else None

    @property
    def serves(self) -> str | None:
        """The version that gets the inputs."""
        pool: Any = self.supervisor.switch.pool
        return pool.version if pool is not None else None

    @property
    def update(self) -> tuple[str, str | None, str | None]:
        """How far the newest update is, of which version, and why."""
        update = self.state.update
        return update.state, update.version, update.reason
