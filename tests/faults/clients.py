"""Who sends inputs and who receives results: on the broker itself, so that no fault of the agent's network is theirs.

Both keep their session. The sender sends again what was not acknowledged when a connection ended, as MQTT asks of it
(MQTT 5.0 section 4.4); the consumer acknowledges what it has entered.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.bundles import samples
from tests.system.device import wait_until

SAMPLES = [sample.tobytes() for sample in samples(16, seed=3)]
"""Input number n is the sample n modulo 16: equal inputs must have equal answers."""
_NO_SUBSCRIBER = 0x10
_FORGOTTEN_S = 3.0
_BACK_S = (0.05, 0.2)


class Sent(msgspec.Struct):
    """An input, and when the broker acknowledged it, on the monotonic clock."""

    at: float
    acknowledged: float | None = None
    unrouted: bool = False
    """The broker said that nobody was subscribed: it had forgotten the agent."""


class _Client:
    def __init__(self, port: int, name: str) -> None:
        self.subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(*_BACK_S)  # type: ignore[arg-type]
        self._client.max_inflight_messages_set(0)
        self._client.max_queued_messages_set(0)
        self._client.on_disconnect = lambda *_: self.subscribed.clear()
        self._port = port

    def start(self) -> None:
        """Connect, and wait until that is done."""
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 86_400
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=session)
        self._client.loop_start()
        wait_until(self.subscribed.is_set, "no connection to the broker")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class Sender(_Client):
    """Sends inputs with QoS 1 in a thread of its own, ids from a counter: ``pace`` a second while there is a window.

    An input that was not answered for a while takes no place in the window any more: it may be lost.
    """

    def __init__(
        self, port: int, prefix: str, answered: Callable[[], Counter[str]], *, window: int, pace: float
    ) -> None:
        super().__init__(port, f"sender-{prefix}")
        self.sent: dict[str, Sent] = {}
        self.window: int | None = window
        self._prefix, self._answered, self._pace = prefix, answered, pace
        self._halves: dict[int, str | tuple[float, bool]] = {}
        self._waiting: list[str] = []
        self._unacknowledged = 0
        self._lock = threading.Lock()
        self._stop, self._sends = threading.Event(), threading.Event()
        self._client.on_connect = lambda *_: self.subscribed.set()
        self._client.on_publish = self._on_publish
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Connect; `resume` begins to send."""
        super().start()
        self._thread.start()

    def close(self) -> None:
        """Send nothing any more, and disconnect."""
        self._stop.set()
        self._thread.join()
        super().close()

    def pause(self) -> None:
        """Send nothing new, and wait until the broker has what was sent."""
        self._sends.clear()
        wait_until(lambda: not self._unacknowledged, "the broker takes no inputs", 60.0)

    def resume(self) -> None:
        """Send on."""
        self._sends.set()

    def send(self) -> str:
        """Send the next input; returns its id."""
        number = len(self.sent)
        input_id = f"{self._prefix}{number}"
        self.sent[input_id] = Sent(time.monotonic())
        self._waiting.append(input_id)
        with self._lock:
            self._unacknowledged += 1
        published = self._client.publish(f"maas/dev/digits/in/{input_id}", SAMPLES[number % len(SAMPLES)], 1)
        self._acknowledgement(published.mid, input_id)
        return input_id

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due, time.monotonic() - 0.1) + 1 / self._pace
            if self._sends.is_set() and (self.window is None or self._outstanding() < self.window):
                self.send()

    def _outstanding(self) -> int:
        """Of the newest inputs those without an answer."""
        since = time.monotonic() - _FORGOTTEN_S
        answered = self._answered()
        self._waiting = [name for name in self._waiting if name not in answered and self.sent[name].at > since]
        return len(self._waiting)

    def _on_publish(self, _client: Any, _data: Any, number: int, reason: Any, _properties: Any) -> None:
        self._acknowledgement(number, (time.monotonic(), reason.value == _NO_SUBSCRIBER))

    def _acknowledgement(self, number: int, half: str | tuple[float, bool]) -> None:
        """The id of a packet's input, and when it was acknowledged: either may be here first."""
        with self._lock:
            other = self._halves.pop(number, None)
            if other is None:
                self._halves[number] = half
                return
            self._unacknowledged -= 1
        input_id, (at, unrouted) = (half, other) if isinstance(half, str) else (other, half)  # type: ignore[misc]
        self.sent[str(input_id)].acknowledged, self.sent[str(input_id)].unrouted = at, unrouted


class Consumer(_Client):
    """Counts the answers by their ids, and keeps the newest document of every other topic of the device."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "consumer")
        self.answers: Counter[str] = Counter()
        self.total = 0
        self.errors: Counter[str] = Counter()
        self.contradictions: list[str] = []
        """Ids whose answers, or whose answer and that to an equal input, were not the same."""
        self.replayed = 0
        """Results that said of themselves that they had waited."""
        self.heard: dict[str, dict[str, Any]] = {}
        self._results: dict[int, Any] = {}
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"maas/dev/{topic}", 1) for topic in ("+/out/#", "+/state", "status", "metrics")]
        )

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if not message.payload:
            return
        document = json.loads(message.payload)
        if "/out" not in message.topic:
            self.heard[message.topic] = document
            return
        if "error" in document:
            self.errors[document["error"]["code"]] += 1
        elif message.topic.startswith("maas/dev/digits/out/"):
            number = int(document["id"].lstrip("abcdefghijklmnopqrstuvwxyz")) % len(SAMPLES)
            if self._results.setdefault(number, document["result"]) != document["result"]:
                self.contradictions.append(document["id"])
        self.replayed += bool(document.get("replayed"))
        self.answers[document["id"]] += 1
        self.total += 1
