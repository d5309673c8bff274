"""Finds out whether the broker delivers shared subscriptions, on which the inputs of groups depend.

MQTT 3.1.1 does not know them: RabbitMQ, NATS and amqtt take ``$share/GROUP/…`` for a topic of that name, grant it, and
never send a thing. Only trying tells, so the device sends itself a message by a shared subscription of its own.
"""

import uuid
from collections.abc import Callable

from maas_agent.base.log import Log
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.system.loop import Loop, Timer

_PATIENCE_S = 5.0


class SharedSubscriptions:
    """Asks on every connect; complains once, until it is heard again."""

    def __init__(self, loop: Loop, topic: str, groups: tuple[str, ...], log: Log) -> None:
        self._loop, self._topic, self._groups, self._log = loop, topic, groups, log
        # Other connections of this id, and answers that came late, are not this one's.
        self._token = b""
        self._patience: Timer | None = None
        self._complained = False

    def ask(self, publish: Callable[[Outbound], object]) -> None:
        """Send the message; only a device of a group needs an answer."""
        if not self._groups:
            return
        self._token = uuid.uuid4().hex.encode()
        publish(Outbound(self._topic, self._token))
        self.forget()
        self._patience = self._loop.after(_PATIENCE_S, self._complain)

    def forget(self) -> None:
        """The connection is gone: no answer will come, and that says nothing."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def received(self, payload: bytes) -> None:
        """A message on the topic."""
        if payload != self._token:
            return
        self.forget()
        if self._complained:
            self._complained = False
            self._log.info("the broker delivers shared subscriptions now", groups=", ".join(self._groups))

    def _complain(self) -> None:
        self._patience = None
        if not self._complained:
            self._complained = True
            self._log.error(
                "the broker does not deliver shared subscriptions: inputs of groups do not reach this device. "
                "Use a broker that has them, see docs/brokers.md; if it has, allow this device to use the topic",
                groups=", ".join(self._groups),
                topic=self._topic,
            )
