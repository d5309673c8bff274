"""Composes the daemon. The hub alone knows all parts; each part knows only its neighbours."""

import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, assert_never

import msgspec

from maas_agent.base.documents import rfc3339
from maas_agent.base.log import Log
from maas_agent.bundle.staged import DEVICE_KEY
from maas_agent.config import Config, PipelineSettings, unprotected
from maas_agent.host import descendants
from maas_agent.host.clock import is_set
from maas_agent.hub import health
from maas_agent.hub.api.commands import COMMANDS, CommandName, Commands, Finish, Handler
from maas_agent.hub.api.control_socket import ControlSocket
from maas_agent.hub.api.desired_state import DesiredStates
from maas_agent.hub.api.mqtt_inputs import MqttInputs, SampleTopic
from maas_agent.hub.api.topics import Command, Topics
from maas_agent.hub.api.unfinished_commands import UnfinishedCommands
from maas_agent.hub.extensions.extension import Context
from maas_agent.hub.extensions.table import extensions
from maas_agent.hub.health import Health
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.mqtt.shared_subscriptions import SharedSubscriptions
from maas_agent.hub.outbox import journal
from maas_agent.hub.outbox.entry import OnSafe, Priority
from maas_agent.hub.outbox.journal import Journal
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.pipeline.pipeline import Pipeline, PipelineEvent
from maas_agent.hub.pipeline.supervisor import Changed, NotWhole
from maas_agent.hub.system import store_folder
from maas_agent.hub.system.cgroups import MemoryGroups
from maas_agent.hub.system.log_limiter import LogLimiter
from maas_agent.hub.system.loop import Loop, every
from maas_agent.hub.system.orphans import reap_orphans
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover.takeover import ProbationEnded
from maas_agent.hub.updates.scheduler import UpdateScheduler
from maas_agent.network.addresses import shown
from maas_agent.update.protocol import Outcome

_STOP_S = 20.0
_PROBATION = "a bundle is on probation there; it is tried when that has ended"
_EXPIRE_S = 10.0
_DISK_S = 5.0


_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that people and tools send, and that would end a process without a farewell."""


class Hub:
    """Runs until SIGTERM, SIGINT, SIGHUP or the like; a second one ends it at once."""

    def __init__(self, config: Config, log: Log) -> None:
        self._config, self._log = config, log
        self._store = Path(config.store.path)
        self._lock = store_folder.own(self._store)
        self._device = config.device.id
        # For whoever loads a sealed bundle: workers, and the trials of the puller and of the tester. It is no secret.
        os.environ[DEVICE_KEY] = str(Path(config.device_key).absolute())
        self._loop = Loop()
        self._log_limiter = LogLimiter(log)
        self._loop.on_exhausted = self._on_exhausted
        _take_all_descriptors()
        for number in _ENDS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) asks for that
                signal.signal(number, lambda *_: self._loop.call(self._stop))
        reap_orphans(self._loop)
        self._topics = Topics(config)
        self._stopping = self._ending = False
        self._sharing = SharedSubscriptions(self._loop, self._topics.sharing, config.device.groups, log)
        self._link = self._make_link()
        self._outbox = self._make_outbox()
        self._services = Services(self._loop, self._store, self._device, log, MemoryGroups.delegated())
        self._pipelines = {settings.name: self._make_pipeline(settings) for settings in config.pipeline}
        self._inputs = MqttInputs(self._topics, self._pipelines, self._outbox)
        self._desired_states = DesiredStates(self._loop, self._store, self._topics, self._device, log)
        self._updates = UpdateScheduler(self._loop, config, self._pipelines, self._desired_states.of, log)
        self._health = Health(
            self._loop,
            self._device,
            config.device.groups,
            self._pipelines.values(),
            self._outbox,
            self._store,
            lambda: self._link.trouble,
        )
        self._extensions = extensions(
            Context(
                self._services,
                config,
                self._topics,
                self._link,
                self._outbox,
                self._health,
                list(self._pipelines.values()),
            )
        )
        for pipeline in self._pipelines.values():
            pipeline.tell_answers_to(self._extensions.listener_to(pipeline))
        self._unfinished = UnfinishedCommands(self._store, log)
        self._commands = Commands(
            {name: self._handler(name) for name in COMMANDS},
            self._publish_command,
            self._unfinished,
            log,
        )
        self._control = ControlSocket(
            self._loop,
            self._store,
            {
                "status": lambda _request, finish: finish(None, self._describe()),
                "install": self._install_request,
                "rollback": self._rollback_command,
            },
        )
        # After the pipelines' own: what their turn produced goes out in the same turn. What is said of commands is on
        # the disk before it is sent.
        self._loop.at_turn_end(self._unfinished.save)
        self._loop.at_turn_end(self._outbox.pump)
        self._loop.at_turn_end(self._link.flush)

    def run(self) -> int:
        """Serve; returns the exit status."""
        self._log.info("starting", device=self._device, store=self._store, pipelines=len(self._pipelines))
        if count := descendants.kill(descendants.mark_of(self._store)):
            self._log.warning("ended what sources of an earlier run left behind", processes=count)
        self._log_alarms()
        _log_what_a_person_should_mend(self._config, self._log)
        self._commands.resume()
        self._link.start()
        for pipeline in self._pipelines.values():
            pipeline.start()
        self._updates.check()
        self._desired_states.watch(self._pipelines.values())
        self._extensions.started()
        every(self._loop, _EXPIRE_S, self._outbox.expire)
        every(self._loop, _DISK_S, self._look_at_the_disk)
        self._loop.run()
        self._unfinished.save()
        self._control.close()
        self._loop.close()
        os.close(self._lock)
        return 0

    # ------------------------------------------------------------- the link's listener

    def link_up(self) -> None:
        """Birth: who is here and what it runs."""
        self._outbox.link_up()
        self._extensions.link_up()
        self._sharing.ask(self._link.publish)

    def link_down(self) -> None:
        """Everything unacknowledged is sent again on the next connection."""
        self._sharing.forget()
        self._outbox.link_down()

    def acknowledged(self, number: int) -> None:
        """The broker has a result."""
        self._outbox.acknowledged(number)

    def inbound(self, message: Inbound) -> None:
        """An input, a command, or something nobody asked for."""
        if message.delivery is not None and not message.dup:
            self._outbox.forget_input(message.delivery.number)
        address = self._topics.input(message.topic)
        if address is not None:
            if not self._stopping:  # else it is not acknowledged: the broker keeps it for the next start
                self._inputs.received(address, message)
            return
        command = self._topics.command(message.topic)
        message.acknowledge()
        if self._stopping:
            return
        if command is not None:
            self._commands.received(command, message.payload)
        elif message.topic == self._topics.sharing:
            self._sharing.received(message.payload)
        elif message.topic in self._topics.desired:
            self._desired_states.received(
                message.topic, message.payload, message.cut_bytes, self._pipelines.values(), self._updates
            )

    # ------------------------------------------------------------- what is told

    def _publish_command(self, command: Command, document: dict[str, Any], on_safe: OnSafe | None) -> None:
        topic = f"{self._topics.base}/cmd/{command.name}/{command.id}"
        self._outbox.put(Outbound(topic, msgspec.json.encode(document), 1, True), on_safe, Priority.EVENT)

    def _on_alarm(self) -> None:
        """The outbox's disk has failed or recovered: told in the next turn, when there is a hub to tell it."""
        self._loop.call(lambda: self._extensions.disk_changed())

    def _look_at_the_disk(self) -> None:
        """It may have become read-only, or be mounted for writing again."""
        if self._health.look():
            self._log_alarms()
            self._extensions.disk_changed()
        else:
            self._extensions.health_changed()  # what was wrong with the connection may be over by now

    def _log_alarms(self) -> None:
        for alarm in self._health.store_alarms:
            self._log.error(alarm)

    def _on_exhausted(self, error: OSError) -> None:
        why = error.strerror or str(error)
        self._log_limiter.error(
            why,
            "something could not be done now",
            reason=why,
            mend="systemctl show maas-agent -p LimitNOFILE -p TasksMax",
        )

    def _on_pipeline_event(self, pipeline: Pipeline, event: PipelineEvent) -> None:
        match event:
            case Changed():
                self._extensions.pipeline_changed(pipeline)
            case ProbationEnded():  # what was asked for while a bundle was on probation has waited for this
                self._loop.call(self._updates.check)
            case NotWhole():
                self._loop.call(lambda: self._updates.mend(pipeline.settings.name))
            case _:
                assert_never(event)

    def _describe(self) -> dict[str, Any]:
        """What ``maas-agent status`` shows."""
        return {
            "device": self._device,
            "connected": self._link.connected,
            "broker": shown(self._config.broker.url),
            "broker_settings": self._config.broker.digest,
            "mqtt": self._link.version,
            "link": msgspec.to_builtins(self._link.counters),
            "outbox": self._health.outbox(),
            "alarms": msgspec.to_builtins(self._health.alarms),
            "pipelines": [p.state() | {"counters": p.metrics.counters()} for p in self._pipelines.values()],
        }

    def _handler(self, name: CommandName) -> Handler:
        match name:
            case "update":
                return self._update_command
            case "restart":
                return self._restart_command
            case "rollback":
                return self._rollback_command
        assert_never(name)

    def _update_command(self, _request: dict[str, Any], finish: Finish) -> None:
        def checked(outcomes: dict[str, Outcome]) -> None:
            failed = [f"{name}: {o.reason}" for name, o in outcomes.items() if o.result == "failed"]
            results = {name: _told(outcome) for name, outcome in outcomes.items()}
            finish("; ".join(failed) or None, {"pipelines": results})

        self._desired_states.obey(self._pipelines.values(), self._updates)
        self._updates.check(checked)

    def _restart_command(self, request: dict[str, Any], finish: Finish) -> None:
        pipeline = self._pipelines.get(str(request.get("pipeline")))
        if pipeline is None:
            finish(f'"pipeline" must be one of {", ".join(sorted(self._pipelines))}', {})
        else:
            pipeline.restart(lambda reason: finish(reason, {}))

    def _rollback_command(self, request: dict[str, Any], finish: Finish) -> None:
        pipeline = self._pipelines.get(str(request.get("pipeline")))
        if pipeline is None:
            finish(f'"pipeline" must be one of {", ".join(sorted(self._pipelines))}', {})
            return

        def done(reason: str | None) -> None:
            active = pipeline.slots.active
            finish(reason, {"version": active.version} if active and reason is None else {})

        pipeline.roll_back(str(request.get("reason") or "somebody asked for it"), done)

    def _install_request(self, request: dict[str, Any], finish: Finish) -> None:
        """Bundles were put into the inbox for these pipelines: try them now."""
        named = request.get("pipelines")
        asked = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []

        def checked(outcomes: dict[str, Outcome]) -> None:
            found = {name: outcomes[name] for name in asked if name in outcomes}
            failed = [f"{name}: {o.reason}" for name, o in found.items() if o.result == "failed"]
            failed += [f"{name}: {_PROBATION}" for name in asked if name not in found]
            results = {name: _told(outcome) for name, outcome in found.items()}
            finish("; ".join(failed) or None, {"pipelines": results})

        self._updates.check(checked)

    # ------------------------------------------------------------- parts, and the end

    def _make_link(self) -> Link:
        gone = health.offline(self._device, self._config.device.groups)
        will = Outbound(self._topics.status, msgspec.json.encode(gone), 1, True)
        payload = max((p.max_payload_bytes for p in self._config.pipeline), default=1 << 16)
        return Link(
            self._loop,
            self._config.broker,
            self._config.client_id,
            will,
            self._topics.subscriptions(),
            payload,
            self,
            self._log,
        )

    def _make_outbox(self) -> Outbox:
        settings, path = self._config.outbox, self._store / journal.NAME
        # Without durability nothing new is written, but what an earlier run has left is still sent.
        keeps = settings.durability != "none" or path.exists()
        on_disk = Journal(path, survives_power_cuts=settings.durability == "power") if keeps else None
        return Outbox(self._loop, self._link, settings, on_disk, self._on_alarm, self._log)

    def _make_pipeline(self, settings: PipelineSettings) -> Pipeline:
        samples = SampleTopic(self._outbox, self._topics.out(settings.name), settings.report)
        return Pipeline(self._services, settings, samples, self._on_pipeline_event)

    def _stop(self) -> None:
        """Take nothing new, answer what is there, hand it to the broker, say farewell."""
        if self._stopping:
            self._log.warning("stopping at once", unsent_results=len(self._outbox))
            self._end()
            return
        self._stopping = True
        self._log.info("stopping")
        self._extensions.stopping()
        self._outbox.stop_replaying()
        self._commands.interrupt()
        self._updates.stop()
        self._desired_states.stop()
        self._loop.after(_STOP_S, self._end)
        left = set(self._pipelines)

        def drained(name: str) -> None:
            left.discard(name)
            if not left:
                self._loop.at_turn_end(self._end_when_sent)

        for name, pipeline in self._pipelines.items():
            pipeline.drain(lambda name=name: drained(name))  # type: ignore[misc]
        if not left:
            self._loop.at_turn_end(self._end_when_sent)

    def _end_when_sent(self) -> None:
        if not self._outbox.in_memory or not self._link.connected:
            self._end()

    def _end(self) -> None:
        if self._ending:
            return
        self._ending = True
        self._outbox.close()  # before the farewell: what is safe now is acknowledged with it
        if self._outbox.in_memory:
            self._log.error("results were not delivered", count=self._outbox.in_memory)
        if self._outbox.on_disk_only:
            self._log.info("results wait for the next start", count=self._outbox.on_disk_only)
        farewell = health.stopped(self._device, self._config.device.groups)
        self._link.stop(Outbound(self._topics.status, msgspec.json.encode(farewell), 0, True))
        for pipeline in self._pipelines.values():
            pipeline.stop()
        self._loop.at_turn_end(self._leave)

    def _leave(self) -> None:
        """Wait for the workers: they end with their socket, or are killed after a grace."""
        if all(pipeline.ended for pipeline in self._pipelines.values()):
            self._log.info("stopped")
            self._loop.stop()


def _told(outcome: Outcome) -> dict[str, Any]:
    """What a check came to for a pipeline, for whoever asked for it."""
    result = "mended" if outcome.mended and outcome.result == "current" else outcome.result
    return {"result": result, "version": outcome.version}


def _take_all_descriptors() -> None:
    """Raise the number of descriptors that this process may have to what it may ask for: 1024 is but a habit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log_what_a_person_should_mend(config: Config, log: Log) -> None:
    """A clock that was never set, and what everybody may see or change; a store that is open to others is closed."""
    now, store = time.time(), Path(config.store.path)
    if not is_set(now):
        log.warning("this device's clock was never set", clock=rfc3339(now), mend="timedatectl set-ntp true")
    open_to_others = store_folder.left_open(store)
    if open_to_others is not None and store_folder.close_to_others(store):
        log.warning("closed the store to others", was=open_to_others[0])
        open_to_others = None
    for what, mend in (*unprotected(config), *([open_to_others] if open_to_others else [])):
        log.warning("not protected", what=what, mend=mend)
