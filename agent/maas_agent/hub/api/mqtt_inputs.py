"""MQTT as a front end: inputs from topics become requests, answers go to topics, acknowledgements follow them."""

import random
import string
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from maas_agent.base import codes
from maas_agent.config import ReportSettings
from maas_agent.host.clock import wall_offset
from maas_agent.hub.api.topics import MAX_ID, Address, Topics
from maas_agent.hub.mqtt.flow.answered import InputIdentity, digest
from maas_agent.hub.mqtt.message import Inbound, Outbound
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.hub.serving.request import OnFull, Request
from maas_agent.ipc import Answer

_WHAT_AN_ID_IS = f"the id is one level of a topic, printable, without + and #, at most {MAX_ID} characters"


class MqttReplyTo(msgspec.Struct):
    """Answers an input with its own QoS; ``acknowledge`` is called when the answer is safe.

    ``topic`` is that of its answer, with the id if the input's had one.
    """

    outbox: Outbox
    topic: str
    qos: int
    retain: bool
    response_topic: str | None
    correlation: bytes | None
    acknowledge: Callable[[], None]
    input: InputIdentity | None
    """What it is recognised by when it comes again after its answer."""

    def reply(self, request: Request, answer: Answer) -> None:
        """Put the answer into the outbox: for its topic, and for the response topic if the input named one."""
        kind, kept = answer.content_type, self.retain and answer.code is None
        copies = [Outbound(self.topic, answer.document, self.qos, kept, content_type=kind)]
        if self.response_topic:
            copies.append(
                Outbound(
                    self.response_topic,
                    answer.document,
                    self.qos,
                    content_type=kind,
                    correlation=self.correlation,
                    expiry_s=request.left_s(time.monotonic()),
                )
            )
        done = _after(len(copies), self.acknowledge)
        if self.input is not None:
            self.input.left = len(copies)
        for copy in copies:
            self.outbox.put(copy, done, answers=self.input)

    def origin(self) -> dict[str, Any]:
        """Its quality of service."""
        return {"qos": self.qos}


class SampleTopic:
    """The out topic of a pipeline's own source; published as ``report`` says."""

    def __init__(self, outbox: Outbox, topic: str, report: ReportSettings) -> None:
        self._outbox, self._topic, self._report = outbox, topic, report

    def publish(self, answer: Answer) -> None:
        """Put an answer into the outbox. The broker keeps results only: an error says nothing for long."""
        kept = self._report.retain and answer.code is None
        self._outbox.put(
            Outbound(self._topic, answer.document, self._report.qos, kept, content_type=answer.content_type)
        )


class MqttInputs:
    """Turns what comes on the input topics into requests."""

    def __init__(self, topics: Topics, pipelines: Mapping[str, Pipeline], outbox: Outbox) -> None:
        self._topics, self._pipelines, self._outbox = topics, pipelines, outbox
        # Ids for inputs that came without one: unique over restarts.
        self._run = "".join(random.choices(string.ascii_lowercase + string.digits, k=8))
        self._count = 0

    def received(self, address: Address, message: Inbound) -> None:
        """Take an input, unless it is an old one."""
        if message.retain:
            message.acknowledge()  # an old input that a subscription brings up again, not a new one
            return
        known = recognisable(address, message)
        if known is not None and message.dup and self._outbox.recognises(known, message.acknowledge):
            return
        pipeline = self._pipelines[address.target.pipeline]
        request = self._request(address, message, known, pipeline.settings.report)
        if address.bad_id is not None and not message.cut_bytes:
            pipeline.refuse(request, codes.BAD_ID, _WHAT_AN_ID_IS)
        else:
            pipeline.submit(request, size=message.cut_bytes or None)

    def _request(
        self, address: Address, message: Inbound, known: InputIdentity | None, report: ReportSettings
    ) -> Request:
        request_id, out = address.id, address.target.out
        if request_id is None:
            self._count += 1
            request_id = f"{self._run}-{self._count}"
        else:
            out = f"{out}/{request_id}"
        reply_to = MqttReplyTo(
            outbox=self._outbox,
            topic=out,
            qos=message.qos,
            retain=report.retain and address.id is None,
            response_topic=_usable(message.response_topic, self._topics),
            correlation=message.correlation,
            acknowledge=message.acknowledge,
            input=known,
        )
        now = time.monotonic()
        return Request(
            id=request_id,
            payload=message.payload,
            content_type=message.content_type,
            arrived=time.time(),
            arrived_at=now,
            reply_to=reply_to,
            on_full=OnFull.WAIT if message.qos else OnFull.DROP_OLDEST,
            expires_at=None if message.expiry_s is None else now + message.expiry_s,
            offset=wall_offset(),
        )


def recognisable(address: Address, message: Inbound) -> InputIdentity | None:
    """What tells that an input comes again, if its sender has given it a name: an id, or correlation data."""
    if message.delivery is None or (address.id is None and not message.correlation):
        return None
    return InputIdentity(message.delivery.number, digest(message.delivery.digest, message.correlation or b""))


def _usable(response_topic: str | None, topics: Topics) -> str | None:
    """A response topic a message can be published to (MQTT 5.0 section 3.3.2.3.5: no wildcards), and may be."""
    if not response_topic or not response_topic.isprintable() or set(response_topic) & {"+", "#"}:
        return None
    return None if topics.is_reserved(response_topic) else response_topic


def _after(count: int, action: Callable[[], None]) -> Callable[[], None]:
    """What does ``action`` when it is called for the ``count``-th time."""
    if count == 1:
        return action
    left = iter(range(count - 1, -1, -1))

    def called() -> None:
        if next(left) == 0:
            action()

    return called
