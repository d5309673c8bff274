"""What a person with an MQTT client sees: publishes inputs, keeps every message, waits for some."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_S = 60.0


class Message:
    """One received message."""

    def __init__(self, message: paho.MQTTMessage) -> None:
        self.topic, self.payload, self.retain = message.topic, bytes(message.payload), message.retain
        self.properties: Any = message.properties

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.payload) if self.payload else {}


class Console:
    """An MQTT 5 client on a thread of its own; subscribed to everything, unless told otherwise.

    With a ``user`` (name and password) it speaks MQTT 3.1.1, which every broker does, and the broker keeps its session
    if it is ``durable``.
    """

    def __init__(
        self,
        port: int,
        name: str = "console",
        filters: tuple[str, ...] = ("#",),
        *,
        user: tuple[str, str] | None = None,
        durable: bool = False,
    ) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()
        protocol = MQTTProtocolVersion.MQTTv311 if user else MQTTProtocolVersion.MQTTv5
        clean = not durable if user else None
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, clean, protocol=protocol)
        if user:
            self._client.username_pw_set(*user)
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(0)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe([(each, 1) for each in filters])
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(
        self, topic: str, payload: bytes | str, qos: int = 1, *, retain: bool = False, **properties: Any
    ) -> paho.MQTTMessageInfo:
        """Publish; ``properties`` are MQTT 5 properties by their names. The broker has it when that is published."""
        packed = None
        if properties:
            packed = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(packed, name, value)
        return self._client.publish(topic, payload, qos, retain, packed)

    def wait(
        self, topic: str, where: Callable[[dict[str, Any]], object] = lambda _: True, seconds: float = WAIT_S
    ) -> Message:
        """The newest message on ``topic`` that ``where`` holds for; waits for one if there is none yet."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [m for m in self.messages if m.topic == topic and m.payload and where(m.document)][-1:]
            return bool(found)

        self._wait_for(look, f"no such message on {topic}", seconds)
        return found[0]

    def wait_for_count(self, prefix: str, count: int, seconds: float = WAIT_S) -> list[Message]:
        """At least ``count`` messages on topics that begin with ``prefix``."""
        self._wait_for(lambda: len(self.on(prefix)) >= count, f"fewer than {count} on {prefix}", seconds)
        return self.on(prefix)

    def forget(self) -> None:
        """What arrived until now does not count any more."""
        with self._news:
            self.messages.clear()

    def on(self, prefix: str) -> list[Message]:
        """What has arrived on topics that begin with ``prefix``, in order."""
        with self._news:
            return [message for message in self.messages if message.topic.startswith(prefix)]

    def is_uninterrupted(self, device: str = "dev") -> bool:
        """Whether nothing was told of an end of the device's session: neither its Last Will nor a farewell."""
        return all(message.document["status"] == "online" for message in self.on(f"maas/{device}/status"))

    def ask(
        self, device: str, pipeline: str, payload: bytes | str, request_id: str, **properties: Any
    ) -> dict[str, Any]:
        """Publish an input and return the document on its out topic."""
        self.publish(f"maas/{device}/{pipeline}/in/{request_id}", payload, **properties)
        return self.wait(f"maas/{device}/{pipeline}/out/{request_id}").document

    def _wait_for(self, condition: Callable[[], bool], failure: str, seconds: float = WAIT_S) -> None:
        deadline = time.monotonic() + seconds
        with self._news:
            while not condition():
                assert self._news.wait(deadline - time.monotonic()), failure

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._news:
            self.messages.append(Message(message))
            self._news.notify_all()
