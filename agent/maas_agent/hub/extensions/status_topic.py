"""Who is here, and what a person should look at: the retained status document."""

from maas_agent.base.alarms import Alarm
from maas_agent.hub.extensions.extension import Context, Extension


class StatusTopic(Extension):
    """Tells the status on every connect, and when there are other alarms than those that were told."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._told: list[Alarm] = []

    def link_up(self) -> None:
        """Birth: who is here."""
        self._tell()

    def health_changed(self) -> None:
        """Only alarms are news; the rest of the document is not."""
        if self.context.health.alarms != self._told:
            self._tell()

    def _tell(self) -> None:
        health = self.context.health
        self._told = health.alarms
        self.context.tell(self.context.topics.status, health.online(), retain=True)
