"""What listens to the life of the device and of its pipelines: the hooks, and what an extension is given."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from maas_agent.config import Config
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.health import Health
from maas_agent.hub.mqtt.flow.packet_limit import TooLargeError
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.outbox import Outbox
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.hub.system.services import Services
from maas_agent.ipc import Answer


class Context(msgspec.Struct, frozen=True):
    """What an extension may use of the hub."""

    services: Services
    config: Config
    topics: Topics
    link: Link
    outbox: Outbox
    health: Health
    pipelines: Sequence[Pipeline]

    def tell(self, topic: str, document: dict[str, Any], *, retain: bool = False, expiry_s: int | None = None) -> None:
        """Tell the present state of something: not queued, because a newer one will follow a reconnect.

        With QoS 0, so that it takes nothing from the window in which the broker accepts results.
        """
        if self.link.connected:
            with suppress(TooLargeError):  # the link has said so
                self.link.publish(Outbound(topic, msgspec.json.encode(document), 0, retain, expiry_s=expiry_s))


class Extension:
    """Hooks that do nothing; an extension overrides those that it needs, and keeps what it was given as ``context``.

    They are called in the hub's loop, which waits for them: they compute little, and neither read nor write files.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    def started(self) -> None:
        """The pipelines were started, and the loop is about to run."""

    def link_up(self) -> None:
        """There is a connection to the broker, and subscriptions are on their way."""

    def pipeline_changed(self, pipeline: Pipeline) -> None:
        """What the state document of a pipeline says has changed."""

    def disk_changed(self) -> None:
        """A disk of the store or of the outbox has failed or recovered; `health_changed` follows."""

    def health_changed(self) -> None:
        """What a person should look at may have changed: of a disk, or of a pipeline."""

    def answered(self, pipeline: Pipeline, answer: Answer) -> None:
        """A request or a sample of the local source has got its answer: a result, or an error with ``answer.code``."""

    def stopping(self) -> None:
        """The end has begun: nothing new is taken."""


class Extensions:
    """The extensions that there are, in their order; tells each hook to all of them."""

    def __init__(self, extensions: Sequence[Extension]) -> None:
        self._all = extensions
        self._of_answers = [one for one in extensions if type(one).answered is not Extension.answered]

    def started(self) -> None:
        """See `Extension.started`."""
        for one in self._all:
            one.started()

    def link_up(self) -> None:
        """See `Extension.link_up`."""
        for one in self._all:
            one.link_up()

    def pipeline_changed(self, pipeline: Pipeline) -> None:
        """See `Extension.pipeline_changed`; the health follows from it."""
        for one in self._all:
            one.pipeline_changed(pipeline)
        self.health_changed()

    def disk_changed(self) -> None:
        """See `Extension.disk_changed`."""
        for one in self._all:
            one.disk_changed()
        self.health_changed()

    def health_changed(self) -> None:
        """See `Extension.health_changed`."""
        for one in self._all:
            one.health_changed()

    def listener_to(self, pipeline: Pipeline) -> Callable[[Answer], None] | None:
        """Whom to tell the answers of a pipeline; ``None`` if nobody listens, so that it costs nothing."""
        listening = self._of_answers
        if not listening:
            return None

        def tell(answer: Answer) -> None:
            for one in listening:
                one.answered(pipeline, answer)

        return tell

    def stopping(self) -> None:
        """See `Extension.stopping`."""
        for one in self._all:
            one.stopping()
