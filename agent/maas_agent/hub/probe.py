"""Does a broker take this device? One connection attempt, waited for: for ``maas-agent check``."""

from typing import Any

from maas_agent.config import Config
from maas_agent.errors import UnavailableError
from maas_agent.hub.link import Inbound, Link
from maas_agent.hub.loop import Loop
from maas_agent.log import Log

_ATTEMPTS = 2


class _Probe:
    """Stops the loop when the link is up."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def link_up(self) -> None:
        self._loop.stop()

    def link_down(self) -> None:
        pass

    def inbound(self, message: Inbound) -> None:
        pass

    def acknowledged(self, number: int) -> None:
        pass


class _Reasons(Log):
    """Keeps the last reason instead of printing it, and gives up after one attempt with each MQTT version."""

    def __init__(self, loop: Loop) -> None:
        super().__init__("check")
        self._loop, self._attempts = loop, 0
        self.last = "no answer"

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if "reason" in fields:
            self.last = str(fields["reason"])
            self._attempts += 1
            if self._attempts == _ATTEMPTS:
                self._loop.stop()


def probe_broker(config: Config, timeout_s: float) -> str:
    """Connect as this device's own second self; returns the MQTT version, raises `UnavailableError` with the reason."""
    loop = Loop()
    reasons = _Reasons(loop)
    client_id = f"{config.broker.topic_root.replace('/', '-')}-{config.device.id}-check"
    link = Link(loop, config.broker, client_id, None, [], 0, _Probe(loop), reasons)
    loop.at_turn_end(link.flush)
    loop.after(timeout_s, loop.stop)
    link.start()
    loop.run()
    version, connected = link.version, link.connected
    link.stop(None)
    loop.close()
    if not connected:
        raise UnavailableError(reasons.last)
    return version
