"""Broker, proxy, agent, sender and consumer; the faults that can happen to them, and the account at the end.

    sender ────▶ broker ◀──▶ proxy ◀──▶ agent (hub, worker)
    consumer ◀─────┘       reads along

A fault is a context: it is in force inside, and repaired at its end as far as somebody would repair it: systemd starts
a hub that ended, the hub a worker.
"""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from maas_agent.door import ask
from tests.bundles import make_bundle
from tests.clocks import WrongClock
from tests.faults.account import NOTHING, Account, Deaths, is_lost_by_broker, settle, unanswered
from tests.faults.clients import Consumer, Sender
from tests.faults.disk import Disk
from tests.faults.namespace import Namespace
from tests.faults.proxy import Direction, Proxy
from tests.faults.sensor import Sensor
from tests.system.brokers import Mosquitto
from tests.system.device import Device, alive, wait_until

DAY_S = 86_400.0
_WAIT_S = 90.0
_PATIENCE_S = 30.0
_MEMORY = Path("/dev/shm")
_HELD = 10
_LOST_LINK = "no connection to the broker"
_PIPELINE = '[[pipeline]]\nname = "digits"\nbundle = "{bundle}"\nallow_unsigned = true\nthreads = 1\n'
_QUEUES = "max_queued_messages 0\nmax_queued_bytes 0\nuser root\n"
"""The broker's own bounds would drop what waits for an agent that is away."""
_PERSISTENT = "persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"


class Setting(msgspec.Struct, frozen=True):
    """What a scenario wants to be there."""

    persistence: bool = False
    """The broker saves what it has after every change. Without, a kill takes all of it."""
    namespace: bool = False
    disk: bool = False
    clock: bool = False
    outbox: str = ""
    """TOML of the table [outbox]."""
    sensor: bool = False
    """A pipeline ``sensor`` beside ``digits``, with a source on the device that never pauses."""
    window: int = 64
    """Inputs without an answer at a time."""
    pace: float = 600.0
    """Inputs a second, at most."""


class Scene:
    """Everything runs, and inputs are answered, when it is made; `close` ends it."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._ends = ExitStack()
        self._within: tuple[str, ...] = ()
        self.deaths = Deaths()
        self.local: Callable[[], Account] = lambda: NOTHING
        """What became of the samples of a source on the device; whoever plays with one says how to tell."""
        self.setting = setting
        self._settled = NOTHING
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            undo.push(lambda *failed: self._ends.close() if failed[0] else None)
            self._build(folder, setting)

    def _build(self, folder: Path, setting: Setting) -> None:
        kept = _PERSISTENT.format(folder=self._owned_folder()) if setting.persistence else ""
        self.broker = Mosquitto(folder, options=_QUEUES + kept)
        self.broker.start()
        self._ends.callback(self.broker.stop)
        self.namespace = self._owned(Namespace()) if setting.namespace else None
        self.proxy = self._owned(Proxy(self.broker.port, self.namespace.address if self.namespace else "127.0.0.1"))
        self.clock = WrongClock(folder / "clock", 0) if setting.clock else None
        self.disk = self._owned(Disk(folder / "dev" / "store")) if setting.disk else None
        self.device = self._owned(self._make_device(folder, setting))
        self.consumer = self._owned(Consumer(self.broker.port))
        self.consumer.start()
        self.start_agent()
        self.until(lambda: self.heard("digits/state").get("serving"), "the agent does not serve")
        self.sender = self._owned(
            Sender(self.broker.port, "n", lambda: self.consumer.answers, window=setting.window, pace=setting.pace)
        )
        self.sender.start()

    def _owned(self, part: Any) -> Any:
        self._ends.callback(part.close)
        return part

    def _owned_folder(self) -> str:
        """For what is saved after every change: in memory, where syncing costs nothing, as no power cut is played."""
        made = TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self._ends.callback(made.cleanup)
        return made.name

    def _make_device(self, folder: Path, setting: Setting) -> Device:
        bundle = make_bundle(folder / "digits-1.0.0.maas", "digits", "1.0.0", seed=1)
        self.sensor = Sensor(folder, bundle) if setting.sensor else None
        address = self.namespace.address if self.namespace else "127.0.0.1"
        return Device(
            folder / "dev",
            f"mqtt://{address}:{self.proxy.port}",
            _PIPELINE.format(bundle=bundle) + (self.sensor.pipeline if self.sensor else ""),
            extra=f"[outbox]\n{setting.outbox}\n" if setting.outbox else "",
            broker="keepalive_s = 2",
        )

    def close(self) -> None:
        """End everything that runs."""
        self._ends.close()

    # ------------------------------------------------------------- looking

    def until(self, condition: Callable[[], object], what: str, seconds: float = _WAIT_S) -> None:
        """Wait for a condition; where it does not come, the end of the agent's log is in the failure."""
        try:
            wait_until(condition, what, seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.device.log()[-4000:]}") from None

    def flow(self, count: int) -> None:
        """Wait until so many more inputs were answered."""
        wanted = len(self.consumer.answers) + count
        self.until(lambda: len(self.consumer.answers) >= wanted, "inputs are not answered any more")

    def heard(self, topic: str) -> dict[str, Any]:
        """The newest document that the device published there."""
        return self.consumer.heard.get(f"maas/dev/{topic}", {})

    def status(self) -> dict[str, Any]:
        """What the agent says on the device itself, whether the network is there or not."""
        return ask(self.device.store, {"do": "status"}, _WAIT_S)

    def until_noticed(self) -> None:
        """Wait until the agent has lost a connection once more."""
        before = self.device.log().count(_LOST_LINK)
        self.until(lambda: self.device.log().count(_LOST_LINK) > before, "the agent does not notice", 30.0)

    # ------------------------------------------------------------- processes

    def start_agent(self) -> None:
        """As systemd does after its end."""
        within = self.namespace.within if self.namespace else ()
        self.device.start(self.clock.environment if self.clock else None, within)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """The workers stand still, and the agent has inputs that it owes an answer; they go on at the end."""
        self.until(self.device.workers, "there is no worker")
        workers = self.device.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        wanted = len(self.proxy.record.offered) + _HELD
        self.until(lambda: len(self.proxy.record.offered) >= wanted, "no inputs come")
        try:
            yield
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)

    @contextmanager
    def hub_killed(self, *, at_work: bool = False) -> Iterator[None]:
        """SIGKILL to the hub, and it is started again."""
        workers = self.device.workers()
        with self.held_up() if at_work else contextlib.nullcontext():
            self.device.kill()
        self.deaths.hub.append(time.monotonic())
        yield
        # systemd takes down the whole control group before it starts the service again (KillMode=mixed).
        self.until(lambda: not any(alive(worker) for worker in workers), "a worker outlives its hub")
        self.start_agent()

    @contextmanager
    def worker_killed(self, *, at_work: bool = False) -> Iterator[None]:
        """SIGKILL to a worker, which the hub replaces."""
        self.until(self.device.workers, "there is no worker")
        with self.held_up() if at_work else contextlib.nullcontext(), contextlib.suppress(ProcessLookupError):
            os.kill(self.device.workers()[0], signal.SIGKILL)
        yield

    @contextmanager
    def terminated(self, *, at_work: bool = False) -> Iterator[None]:
        """SIGTERM to the hub; it drains and leaves with 0, and is started again."""
        with self.held_up() if at_work else contextlib.nullcontext():
            os.kill(self.device.pid, signal.SIGTERM)
        status = self.device.wait()
        assert status == 0, f"the agent left with {status}\n{self.device.log()[-4000:]}"
        self.deaths.hub.append(time.monotonic())
        yield
        self.start_agent()

    @contextmanager
    def broker_killed(self) -> Iterator[None]:
        """SIGKILL to the broker, and it is started again; consumer and sender are back before the agent.

        Results that reach a broker without persistence before the consumer are for nobody, and no loss of the agent.
        """
        self.proxy.hold()
        self.broker.stop()
        self.until(lambda: not self.sender.subscribed.is_set(), "the sender does not notice")
        self.until(lambda: not self.consumer.subscribed.is_set(), "the consumer does not notice")
        self.deaths.broker.append(time.monotonic())
        yield
        self.broker.start()
        self.until(self.consumer.subscribed.is_set, "the consumer does not come back")
        self.until(self.sender.subscribed.is_set, "the sender does not come back")
        self.proxy.heal()

    # ------------------------------------------------------------- the network

    @contextmanager
    def stalled(self, *directions: Direction) -> Iterator[None]:
        """Nothing passes in these directions; connections stay open."""
        self.proxy.stall(*directions)
        yield
        self.proxy.heal()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The agent's connection ends, and new ones are not taken."""
        self.proxy.hold()
        self.proxy.cut()
        yield
        self.proxy.heal()

    @contextmanager
    def reset(self) -> Iterator[None]:
        """RST on the agent's connection."""
        self.proxy.reset()
        yield

    @contextmanager
    def cut(self) -> Iterator[None]:
        """FIN on the agent's connection, whatever is on its way."""
        self.proxy.cut()
        yield

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """The broker's end of the connection is gone; the agent finds out by itself."""
        self.proxy.half_open()
        yield

    @contextmanager
    def kicked(self, times: int) -> Iterator[None]:
        """The broker accepts the agent and resets it, so many times."""
        self.proxy.kick(times)
        self.proxy.reset()
        yield
        self.until(lambda: not self.proxy.kicks_left, "the agent does not come back to be kicked")

    @contextmanager
    def slow(self, bytes_per_s: float) -> Iterator[None]:
        """A network that lets only so much pass."""
        self.proxy.throttle(bytes_per_s)
        yield
        self.proxy.heal()

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """The cable to the agent's network namespace is pulled."""
        assert self.namespace
        self.namespace.pull()
        yield
        self.namespace.plug()

    # ------------------------------------------------------------- the machine

    @contextmanager
    def clock_off(self, days: float) -> Iterator[None]:
        """The wall clock jumps, and back."""
        assert self.clock
        self.clock.jump(days * DAY_S)
        yield
        self.clock.jump(0)

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """The disk of the agent's store has no byte left."""
        assert self.disk
        self.disk.fill()
        yield
        self.disk.free()

    # ------------------------------------------------------------- the end

    def settle(self, faults: int) -> Account:
        """Send nothing new, wait until all is at rest, and sum up what has come since the last time."""
        self.sender.pause()
        self._drain()
        before = self.heard("metrics")
        while not self._is_empty(before):
            assert self.comes_more(lambda: self._is_empty(before)), f"results are left: {self.heard('metrics')}"
        probe = self.sender.send()  # behind everything else: what comes twice has come when this is answered
        self.until(lambda: self.consumer.answers[probe], "the agent does not answer any more")
        self.until(self._is_balanced, f"the agent's own count does not come out: {self.heard('metrics')}")
        assert not self.consumer.contradictions, f"different answers to {self.consumer.contradictions[:5]}"
        account = self._account()
        since, self._settled = account - self._settled, account
        return msgspec.structs.replace(since, faults=faults)

    def _account(self) -> Account:
        answers = self.consumer.answers.copy()
        strange = [name for name in answers if name not in self.sender.sent and "-" not in name]
        assert not strange, f"answers to inputs that nobody sent: {strange[:5]}"
        answers = Counter({name: answers[name] for name in self.sender.sent})
        errors = self.consumer.errors.total()
        return self.local() + settle(self.sender.sent, answers, errors, self.proxy.record, self.deaths)

    def _drain(self) -> None:
        """Wait for the answers that the agent owes, while some come; what is missing then is in the account."""
        missing = list(self.sender.sent)
        while True:
            missing = [
                input_id
                for input_id in unanswered(missing, self.consumer.answers)
                if not is_lost_by_broker(input_id, self.sender.sent[input_id], self.proxy.record, self.deaths)
            ]
            if not missing or not self.comes_more():
                return

    def _is_empty(self, before: dict[str, Any]) -> bool:
        """Whether the outbox is, by metrics that are newer than ``before``."""
        metrics = self.heard("metrics")
        return metrics is not before and not metrics["outbox"]["results"]

    def comes_more(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait until at least one more answer has come, or it is enough; ``False`` if neither is so for long."""
        before = self.consumer.total
        try:
            wait_until(lambda: self.consumer.total > before or enough(), "nothing", _PATIENCE_S)
        except AssertionError:
            return False
        moment(0.1)  # whoever counts them all need not do so for every single one
        return True

    def _is_balanced(self) -> bool:
        """Since its start the agent has answered what it received, and dropped nothing."""
        metrics = self.heard("metrics")
        counters = metrics["pipelines"]["digits"]
        dropped = metrics["outbox"]["dropped"] + counters["dropped"]
        return not dropped and counters["received"] == counters["answered"] + sum(counters["errors"].values())


def moment(seconds: float) -> None:
    """Let time pass: how long a fault lasts, or the random moment at which it comes, is what is tested."""
    threading.Event().wait(seconds)
