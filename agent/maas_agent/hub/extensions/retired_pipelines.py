"""Pipelines that are not configured any more: what the broker retains of them is cleared."""

from functools import partial

from maas_agent.hub.api.announcements import Announcements
from maas_agent.hub.extensions.extension import Context, Extension
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.entry import Priority


class RetiredPipelines(Extension):
    """What is retained of them would look as if they were served."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        names = [pipeline.settings.name for pipeline in context.pipelines]
        self._announced = Announcements(context.services.store, names, context.services.log)
        self._clearing = set[str]()

    def link_up(self) -> None:
        """Clear what an earlier configuration has left, once."""
        topics, outbox = self.context.topics, self.context.outbox
        for name in self._announced.gone:
            if name in self._clearing:
                continue
            self._clearing.add(name)
            self.context.services.log.info("clearing what is retained of a pipeline that is gone", pipeline=name)
            # An empty retained message removes the one that is there (MQTT 5.0 section 3.3.1.3).
            outbox.put(Outbound(topics.out(name), b"", 1, True), None, Priority.EVENT)
            cleared = partial(self._announced.cleared, name)
            outbox.put(Outbound(topics.state(name), b"", 1, True), cleared, Priority.EVENT)
