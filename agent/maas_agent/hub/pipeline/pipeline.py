"""Shows one pipeline to the rest of the hub: requests go in, its state comes out."""

from collections.abc import Callable
from typing import Any, assert_never

from maas_agent.config import MqttSource, PipelineSettings
from maas_agent.hub.pipeline import state_document
from maas_agent.hub.pipeline.supervisor import Changed, NotWhole, OnRestarted, Supervisor, SupervisorEvent
from maas_agent.hub.serving.dead_letters import DeadLetters
from maas_agent.hub.serving.intake import Intake
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.replies import Replies, Samples
from maas_agent.hub.serving.request import Request
from maas_agent.hub.serving.switch import Answered, GivenUp, SampleAnswered
from maas_agent.hub.system.loop import every
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover.pipeline_state import PipelineState
from maas_agent.hub.takeover.takeover import OnDone, ProbationEnded
from maas_agent.ipc import Answer, SourceIs
from maas_agent.update.protocol import Outcome, PullProgress

_EXPIRE_S = 1.0
"""How often waiting inputs are looked at; what a worker is about to get is looked at anyway."""

PipelineEvent = Changed | ProbationEnded | NotWhole
OnPipelineEvent = Callable[["Pipeline", PipelineEvent], None]


class Pipeline:
    """Takes requests, answers them by the bundle that serves, and says how it is."""

    def __init__(
        self, services: Services, settings: PipelineSettings, samples: Samples, on_event: OnPipelineEvent
    ) -> None:
        self.settings, self.metrics, self._on_event = settings, PipelineMetrics(), on_event
        self._replies = Replies(services.device, settings.name, samples, self.metrics)
        dead_letters = DeadLetters(services.store, settings.name, services.log)
        self._intake = Intake(settings, self._replies, self.metrics, dead_letters, services.log)
        self._supervisor = Supervisor(services, settings, self._intake.dispatcher, self.metrics, self._handle)
        every(services.loop, _EXPIRE_S, self._intake.dispatcher.expire)

    @property
    def slots(self) -> PipelineState:
        """Its bundles, and how far an update has come."""
        return self._supervisor.slots

    @property
    def serving(self) -> bool:
        """Whether a worker answers."""
        return self._supervisor.switch.ready

    @property
    def healthy(self) -> bool:
        """Whether no worker has been silent for longer than the supervisor should have allowed."""
        return self._supervisor.switch.healthy

    @property
    def updating(self) -> bool:
        """Whether a candidate is just taking over."""
        return self._supervisor.takeover.in_progress

    @property
    def is_judging(self) -> bool:
        """Whether a candidate serves on trial: no other one is looked for until that has ended.

        One whose source is silent may be on trial for ever: what is newer takes its place.
        """
        return self._supervisor.takeover.on_probation and not self._supervisor.takeover.waits_for_samples

    @property
    def newest_version(self) -> str | None:
        """The version that serves, or will if nothing is wrong with it."""
        newest = self.slots.candidate if self.slots.update.state in ("shadow", "probation") else self.slots.active
        return newest.version if newest else None

    @property
    def dropped(self) -> int:
        """Inputs that a full queue has cost."""
        return self._intake.dispatcher.dropped

    @property
    def trouble(self) -> str | None:
        """Why it does not serve, if it does not."""
        return self._supervisor.trouble

    @property
    def source(self) -> SourceIs | None:
        """How its local source is; ``None`` if its samples come by MQTT alone."""
        if isinstance(self.settings.source, MqttSource):
            return None
        pool = self._supervisor.switch.pool
        if pool is None or not pool.any_ready:
            return SourceIs("waiting", self.trouble or "no worker is ready yet")
        return pool.source or SourceIs("waiting", "it has not been started yet")

    @property
    def alarms(self) -> list[str]:
        """What a person should know of it."""
        source = self.source
        if source is None or source.state != "failed":
            return []
        return [f"the source of pipeline {self.settings.name} has failed: {source.reason}"]

    def state(self) -> dict[str, Any]:
        """The document of the state topic."""
        pool = self._supervisor.switch.pool
        running = pool if pool is not None and pool.any_ready else None
        ready = running.count_ready if running else 0
        return {
            **state_document.bundles(self.settings.name, self.settings.model, self.slots, serving=self.serving),
            **state_document.running(running),
            "replicas": {"wanted": self.settings.replicas, "ready": ready},
            "quarantine": [state_document.rest(rest) for rest in self._supervisor.placement.rests],
            "trials": state_document.trials(self.slots.serving.trials if self.slots.serving else None),
            "source": state_document.source(self.source),
            "update": state_document.update(self.slots.update) | self._supervisor.takeover.document(),
            "trouble": self.trouble,
        }

    # ------------------------------------------------------------- requests

    def submit(self, request: Request, *, size: int | None = None) -> None:
        """Take a request; see `Intake.submit`."""
        if self._intake.submit(request, size=size):
            self._supervisor.takeover.submitted(request)

    def refuse(self, request: Request, code: str, message: str) -> None:
        """Answer a request with an error without showing it to a worker."""
        self._intake.refuse(request, code, message)

    def _handle(self, event: SupervisorEvent) -> None:
        match event:
            case SampleAnswered(answer):
                self._replies.report(answer)
            case Answered(request, answer):
                self._intake.answered(request, answer)
            case GivenUp(request, pool, how):
                self._intake.given_up(request, pool, how)
            case Changed() | ProbationEnded() | NotWhole():
                self._on_event(self, event)
            case _:
                assert_never(event)

    # ------------------------------------------------------------- what is asked of it

    def tell_answers_to(self, listener: Callable[[Answer], None] | None) -> None:
        """Tell every answer to ``listener`` too, also those to requests that no worker has seen."""
        self._replies.listener = listener

    def start(self) -> None:
        """Serve the active bundle, if there is one."""
        self._supervisor.start()

    def restart(self, on_restarted: OnRestarted) -> None:
        """Replace the workers by new ones without losing an input."""
        self._supervisor.restart(on_restarted)

    def progress(self, event: PullProgress) -> None:
        """The puller is about to take a step: persist it, then tell."""
        self._supervisor.progress(event)

    def conclude(self, outcome: Outcome) -> None:
        """The puller's last word."""
        self._supervisor.conclude(outcome)

    def roll_back(self, reason: str, done: OnDone = lambda _reason: None) -> None:
        """Go back to the bundle before the newest one, and set that aside until a newer one comes."""
        self._supervisor.roll_back(reason, done)

    def drain(self, done: Callable[[], None]) -> None:
        """Take nothing new, answer what is there, then call ``done``."""
        self._supervisor.drain(done)

    def stop(self) -> None:
        """Let the workers end."""
        self._supervisor.stop()

    @property
    def ended(self) -> bool:
        """Whether every worker has gone, after `stop`."""
        return self._supervisor.switch.ended
