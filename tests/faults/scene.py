"""Broker, proxy, agent, sender and consumer, and the account of what passed between them.

sender ────▶ broker ◀──▶ proxy ◀──▶ agent (hub, worker)
consumer ◀─────┘       reads along
"""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from maas_agent.hub.api.control_client import ask
from tests.bundles import make_bundle
from tests.clocks import WrongClock
from tests.faults.account import NOTHING, Account, Deaths, is_lost_by_broker, settle, unanswered
from tests.faults.clients import Consumer, Sender
from tests.faults.disk import Disk
from tests.faults.namespace import Namespace
from tests.faults.proxy import Proxy
from tests.faults.sensor import Sensor
from tests.system.brokers import Mosquitto
from tests.system.device import Device, wait_until

_WAIT_S = 90.0
_PATIENCE_S = 30.0
_MEMORY = Path("/dev/shm")
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
        self.deaths = Deaths()
        self.local: Callable[[], Account] = lambda: NOTHING
        """What became of the samples of a source on the device; whoever plays with one says how to tell."""
        self.setting = setting
        self._settled = NOTHING
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._build(folder, setting)
        except BaseException:
            self.close()
            raise

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
            broker="reconnect_max_s = 1.0\nkeepalive_s = 2",
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
        """Wait until the agent has given up its connection, or made another one."""
        before = self.proxy.accepted
        self.until(
            lambda: self.proxy.accepted > before or not self.status()["connected"], "the agent does not notice", 30.0
        )

    def start_agent(self) -> None:
        """As systemd does after its end."""
        within = self.namespace.within if self.namespace else ()
        self.device.start(self.clock.environment if self.clock else None, within)

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
