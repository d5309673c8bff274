"""Somebody with an MQTT client: publishes digits to the device and collects its results."""

import io
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from PIL import Image

_WAIT_S = 60.0
_WINDOW = 8


class Answer:
    """What came back for one digit."""

    def __init__(self, form: str, wanted: int, documents: list[dict[str, Any]]) -> None:
        first = documents[0] if documents else {}
        self.form, self.times = form, len(documents)
        self.version: str = first.get("version", "")
        self.latency_ms: float = first.get("latency_ms", 0.0)
        self.right = "result" in first and first["result"]["label"] == str(wanted)


class Visitor:
    """A connected client; ``device`` is the base of the device's topics."""

    def __init__(self, port: int, device: str) -> None:
        self._device = device
        self._news = threading.Condition()
        self._received: list[tuple[str, dict[str, Any]]] = []
        self._results: dict[str, list[dict[str, Any]]] = {}
        self._order: list[str] = []
        self._answered: Counter[str] = Counter()
        self._runs = itertools.count()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "visitor")
        self._client.max_inflight_messages_set(0)
        subscribed = threading.Event()
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(f"{device}/#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not subscribed.wait(_WAIT_S):
            raise TimeoutError("the broker does not answer")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def command(self, name: str, command_id: str) -> None:
        """Give the device a command."""
        self._client.publish(f"{self._device}/cmd/{name}/{command_id}", '{"status": "init"}', qos=1, retain=True)

    def wait_until_serving(self, pipeline: str, version: str) -> None:
        """Wait for the state topic to say that ``version`` serves."""

        def serves() -> bool:
            states = [document for topic, document in self._received if topic == f"{self._device}/{pipeline}/state"]
            active = states[-1]["active"] if states else None
            return bool(active and active["version"] == version and states[-1]["serving"])

        self.wait(serves, f"{pipeline} {version} does not serve")

    def ask_all(self, pipeline: str, images: np.ndarray, classes: np.ndarray, form: str) -> list[Answer]:
        """Publish every image in one form, a few at a time; one answer for each."""
        with self.flow(pipeline, images, classes, form, count=len(images)) as flow:
            flow.wait_for_answers(len(images))
        return flow.finish()

    def listen(self, pipeline: str, count: int) -> list[dict[str, Any]]:
        """The next ``count`` results of a pipeline with a local source."""
        topic = f"{self._device}/{pipeline}/out"
        seen = len(self._on(topic))
        self.wait(lambda: len(self._on(topic)) >= seen + count, f"nothing arrives on {topic}")
        return self._on(topic)[seen : seen + count]

    def flow(
        self, pipeline: str, images: np.ndarray, classes: np.ndarray, form: str = "raw", count: int | None = None
    ) -> "Flow":
        """Publish images without a pause, over and over, until the flow is left (or ``count`` are sent)."""
        return Flow(self, f"{self._device}/{pipeline}", images, classes, form, count)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1."""
        self._client.publish(topic, payload, qos=1)

    def results(self, prefix: str) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
        """Every answer whose id begins with ``prefix``: the documents by id, and the ids in order of arrival."""
        with self._news:
            order = [key for key in self._order if key.startswith(prefix)]
            return {key: list(self._results[key]) for key in order}, order

    def answered(self, prefix: str) -> int:
        """How many ids that begin with ``prefix`` have an answer."""
        return self._answered[prefix]

    def new_run(self) -> str:
        """A prefix for ids that nobody used before."""
        return f"{next(self._runs)}-"

    def wait(self, condition: Callable[[], bool], failure: str) -> None:
        """Wait for something that messages bring about; raises `TimeoutError`."""
        deadline = time.monotonic() + _WAIT_S
        with self._news:
            while not condition():
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(failure)

    def _on(self, topic: str) -> list[dict[str, Any]]:
        return [document for where, document in self._received if where == topic]

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        topic = message.topic.removeprefix(f"{self._device}/").split("/")
        if topic[1:2] == ["in"]:
            return
        document = json.loads(message.payload) if message.payload else {}
        with self._news:
            if topic[1:2] == ["out"] and len(topic) == 3:
                if topic[2] not in self._results:
                    self._order.append(topic[2])
                    self._answered[topic[2].partition("-")[0] + "-"] += 1
                self._results.setdefault(topic[2], []).append(document)
            else:
                self._received.append((message.topic, document))
            self._news.notify_all()


class Flow:
    """A thread that publishes digits, with a few outstanding at a time."""

    def __init__(
        self, visitor: Visitor, base: str, images: np.ndarray, classes: np.ndarray, form: str, count: int | None
    ) -> None:
        self._visitor, self._base, self._form = visitor, base, form
        self._payloads = [encoded(image, form) for image in images]
        self._classes = classes
        self._count, self.sent = count, 0
        self._prefix = visitor.new_run()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many have been answered."""
        self._visitor.wait(lambda: self._answered() >= count, f"fewer than {count} digits were answered")

    def finish(self) -> list[Answer]:
        """All answers, in the order in which they arrived, and an empty one for each digit that got none."""
        self.wait_for_answers(self.sent)
        documents, order = self._visitor.results(self._prefix)
        missing = [key for number in range(self.sent) if (key := f"{self._prefix}{number}") not in documents]
        return [self._answer(key, documents.get(key, [])) for key in [*order, *missing]]

    def _answer(self, key: str, documents: list[dict[str, Any]]) -> Answer:
        number = int(key.removeprefix(self._prefix))
        return Answer(self._form, int(self._classes[number % len(self._classes)]), documents)

    def _answered(self) -> int:
        return self._visitor.answered(self._prefix)

    def _run(self) -> None:
        while not self._stop.is_set() and self.sent != self._count:
            if self.sent - self._answered() < _WINDOW:
                payload = self._payloads[self.sent % len(self._payloads)]
                self._visitor.publish(f"{self._base}/in/{self._prefix}{self.sent}", payload)
                self.sent += 1
            else:
                self._stop.wait(0.001)


def encoded(image: np.ndarray, form: str) -> bytes:
    """One digit (8, 8, 1) as raw bytes, as JSON, or as PNG."""
    if form == "raw":
        return image.tobytes()
    if form == "json":
        return json.dumps(image.tolist()).encode()
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent are not above."""
    return float(np.percentile(values, percent)) if values else 0.0
