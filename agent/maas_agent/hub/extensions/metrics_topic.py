"""Counters and latencies, every now and then."""

from math import ceil

import msgspec

from maas_agent.hub.extensions.extension import Extension
from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.entry import Priority
from maas_agent.hub.system.loop import every

_INTERVALS = 3
"""So many intervals old is out of date."""


class MetricsTopic(Extension):
    """Tells the metrics every ``metrics_s`` seconds, on every connect, and when the outbox's disk fails."""

    def started(self) -> None:
        """From now on."""
        every(self.context.services.loop, self.context.config.metrics_s, self.tell)

    def link_up(self) -> None:
        """For those who have just come to look."""
        self.tell()

    def disk_changed(self) -> None:
        """How full the outbox is, matters now."""
        self.tell()

    def tell(self) -> None:
        """Who is here but was away for some intervals has no use for old ones.

        Those of an outage are kept: that is when somebody will want to look at them.
        """
        context = self.context
        document = context.health.metrics() | {"link": msgspec.to_builtins(context.link.counters)}
        if context.link.connected:
            expiry_s = ceil(_INTERVALS * context.config.metrics_s)
            context.tell(context.topics.metrics, document, expiry_s=expiry_s)
        else:
            kept = Outbound(context.topics.metrics, msgspec.json.encode(document), 1)
            context.outbox.put(kept, priority=Priority.METRIC)
