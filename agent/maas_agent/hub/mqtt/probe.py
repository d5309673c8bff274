"""Tries whether a broker takes this device, with each MQTT version, and waits: for ``maas-agent check``."""

import secrets

from maas_agent.base.log import SilentLog
from maas_agent.config import Config
from maas_agent.errors import UnavailableError
from maas_agent.hub.mqtt.link import Link
from maas_agent.hub.mqtt.message import Inbound
from maas_agent.hub.mqtt.reasons import Failure
from maas_agent.hub.system.loop import Loop

_ATTEMPTS = 2


class UnreachableError(UnavailableError):
    """There is no connection; ``mend`` is what to type or change, if that is known."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.mend = failure.mend


class _Probe:
    """Stops the loop when the link is up, or has failed with each MQTT version."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self._attempts = loop, 0
        self.last = Failure("no answer")

    def link_up(self) -> None:
        self._loop.stop()

    def link_down(self) -> None:
        pass

    def inbound(self, message: Inbound) -> None:
        pass

    def acknowledged(self, number: int) -> None:
        pass

    def failed(self, failure: Failure) -> None:
        self.last = failure
        self._attempts += 1
        if self._attempts == _ATTEMPTS:
            self._loop.stop()


def probe_broker(config: Config, timeout_s: float) -> str:
    """Connect as this device; returns the MQTT version, raises `UnreachableError` with the reason.

    Under a client id of its own, with a session that ends with the connection: the broker keeps nothing of it, and the
    agent keeps its connection. Where the broker may know the device by its username only, that would end the *agent's*
    session, and the inputs that wait in it: there it is what the agent is, so call it when no agent is connected.
    ``timeout_s`` is in seconds. Raises `ConfigError` if a secret or a certificate cannot be read.
    """
    loop = Loop()
    probe = _Probe(loop)
    is_agent = known_by_username(config)
    client_id = config.client_id if is_agent else f"{config.client_id}-check-{secrets.token_hex(4)}"
    link = Link(loop, config.broker, client_id, None, [], 0, probe, SilentLog("check"), leaves_nothing=not is_agent)
    link.on_failed = probe.failed
    loop.at_turn_end(link.flush)
    loop.after(timeout_s, loop.stop)
    link.start()
    loop.run()
    version, connected = link.version, link.connected
    link.stop(None)
    loop.close()
    if not connected:
        raise UnreachableError(probe.last)
    return version


def known_by_username(config: Config) -> bool:
    """Whether the broker may take the username for the client id, as Mosquitto's ``use_username_as_clientid`` does."""
    return config.broker.username in (config.device.id, config.client_id)
