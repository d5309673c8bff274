"""Recognises inputs that the broker sends again while they are worked on: each is answered once.

A broker sends what was not acknowledged again when a session is resumed, with the same packet identifier and the DUP
flag (MQTT 5.0 sections 3.3.1.1 and 4.4). While this side has not acknowledged an identifier, the broker cannot
give it to another message (section 2.2.1): so it is the same message, and only its acknowledgement has to move to
the new connection. One whose acknowledgement was written is told as new: whether it is known all the same is for
`maas_agent.hub.mqtt.flow.answered`. So nothing is acknowledged on a connection before the broker has answered on it:
one that accepts and then resets would swallow the acknowledgements, and send everything again.
"""

from collections.abc import Callable

import msgspec

from maas_agent.hub.mqtt.flow.answered import digest
from maas_agent.hub.mqtt.transport.wire import Publish

Acknowledge = Callable[[int], None]
"""Takes the packet identifier of what is acknowledged."""


class InFlightInput(msgspec.Struct, eq=False):
    """A QoS 1 message that was not acknowledged. ``answer`` does so on the connection on which it came last."""

    number: int
    digest: bytes
    """Of topic and payload."""
    answer: Acknowledge | None
    is_done: bool = False
    """Whether its acknowledgement was asked for; it is still here if there was no proven connection to write it to."""


class InFlightInputs:
    """Knows what the broker waits for an acknowledgement of, by packet identifier, over a session's connections."""

    def __init__(self) -> None:
        self._open: dict[int, InFlightInput] = {}
        self._is_proven = False

    def connected(self, *, resumed: bool) -> None:
        """A connection begins. Identifiers of another session mean nothing in this one."""
        if not resumed:
            self.disconnected()
            self._open.clear()

    def proven(self) -> None:
        """The broker has answered on the connection: what is done is acknowledged now."""
        self._is_proven = True
        for delivery in list(self._open.values()):
            if delivery.is_done:
                self.acknowledge(delivery)

    def disconnected(self) -> None:
        """The connection is gone: acknowledgements wait until their message comes again."""
        self._is_proven = False
        for delivery in self._open.values():
            delivery.answer = None

    def received(self, packet: Publish, answer: Acknowledge) -> tuple[InFlightInput, bool]:
        """The delivery that ``packet`` belongs to, and whether it is a new one."""
        content = digest(packet.topic, packet.payload, packet.cut_bytes.to_bytes(8, "big"))
        known = self._open.get(packet.number)
        # A broker that was set back to an older state may use an identifier for something else all the same.
        if known is not None and packet.dup and known.digest == content:
            known.answer = answer
            return known, False
        if known is not None:
            known.answer = None
        delivery = self._open[packet.number] = InFlightInput(packet.number, content, answer)
        return delivery, True

    def acknowledge(self, delivery: InFlightInput) -> None:
        """It is done: acknowledged on the connection on which it came last, as soon as that is proven."""
        delivery.is_done = True
        if self._is_proven and delivery.answer is not None:
            answer, delivery.answer = delivery.answer, None
            del self._open[delivery.number]
            answer(delivery.number)
