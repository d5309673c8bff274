"""What systemd and ``systemctl status`` are told."""

from maas_agent.hub.extensions.extension import Extension


class ServiceStatus(Extension):
    """Tells the service manager what serves, and that the service is ready, or stops."""

    def started(self) -> None:
        """What serves already, or that nothing is configured."""
        self.context.health.changed()

    def health_changed(self) -> None:
        """It may serve now, or not any more."""
        self.context.health.changed()

    def stopping(self) -> None:
        """No new start is to wait for this one."""
        self.context.health.stopping()
