"""Checks what this device talks to: the broker, and the repository with the root metadata that it is trusted by."""

from pathlib import Path
from typing import Any

import msgspec

from maas_agent.checks.clock import ServerTime
from maas_agent.checks.finding import CheckResult
from maas_agent.checks.questions import Offers, Reaches, answer, ask
from maas_agent.config import BrokerSettings, Config, RepositorySettings
from maas_agent.errors import MaasError, UnavailableError
from maas_agent.host.scratch import scratch_folder
from maas_agent.hub.api import control_client
from maas_agent.network.addresses import HIDDEN, shown, split_query
from maas_agent.update.access import access_to

_WAIT_S = 10.0
_BROKER_S = 20.0
"""For an attempt with each MQTT version."""
_REFRESH_S = 60.0
_AGENT_S = 5.0


class Reached(msgspec.Struct, frozen=True):
    """Whether the repository's server answered (``reason`` if not), and its time, if it said so."""

    reason: str | None = None
    time: ServerTime | None = None


def broker(config: Config) -> CheckResult:
    """The running agent's word for it, if it has been started with this [broker]; else by connecting as this device."""
    from maas_agent.hub.mqtt.probe import UnreachableError, known_by_username, probe_broker

    url = shown(config.broker.url)
    agent = _agent(config)
    if agent is not None and agent.get("broker_settings") == config.broker.digest:
        return CheckResult("broker", True, f"{url}, MQTT {agent['mqtt']}, as the running agent says")
    if agent is not None and known_by_username(config):
        found = f"{url}: not tried: it might end the connection of the agent, which runs with another [broker]"
        return CheckResult("broker", None, found, "systemctl restart maas-agent")
    try:
        return CheckResult("broker", True, f"{url}, MQTT {probe_broker(config, _BROKER_S)}")
    except UnreachableError as error:
        return CheckResult("broker", False, f"{url}: {error}", error.mend or _try_by_hand(config.broker))
    except MaasError as error:
        return CheckResult("broker", False, f"{url}: {error}", "mend [broker]")


def _agent(config: Config) -> dict[str, Any] | None:
    """What the agent on this store says of itself, if one runs and is connected to a broker."""
    try:
        status = control_client.ask(Path(config.store.path), {"do": "status"}, _AGENT_S)
    except UnavailableError:
        return None
    return status if status.get("connected") else None


def _try_by_hand(broker: BrokerSettings) -> str:
    """Somebody else's client says more, or the same."""
    if broker.url.startswith("ws"):
        return "is the broker running, and [broker] right?"
    files = {"--cafile": broker.ca, "--cert": broker.certificate, "--key": broker.key, "-u": broker.username}
    options = "".join(f" {option} {value}" for option, value in files.items() if value)
    command = f"mosquitto_sub -L {broker.url}/'$SYS/broker/version' -C 1{options}"
    return f"is the broker running, and [broker] right? Try: {command}"


def reach(repository: RepositorySettings) -> Reached:
    """Ask the repository's server for the file that changes with every publication, as an update does."""
    try:
        return Reached(time=answer(Reaches(access_to(repository), _timestamp(repository), _WAIT_S), 3 * _WAIT_S).time)
    except UnavailableError as error:
        return Reached(str(error))


def root(repository: RepositorySettings) -> CheckResult:
    """The trusted root metadata can be read."""
    mend = "copy metadata/root.json of the repository there; it is what this device trusts"
    try:
        with Path(repository.root).open("rb") as file:
            file.read(1)
    except OSError as error:
        return CheckResult("repository root", False, f"{repository.root}: {error.strerror}", mend)
    return CheckResult("repository root", True, repository.root)


def offers(repository: RepositorySettings, reached: Reached, store: Path) -> CheckResult:
    """The repository's metadata are signed as the root says, and fresh.

    Temporary files are in ``store`` where there is no other folder for them.
    """
    by_hand = _fetch_by_hand(repository)
    if reached.reason is not None:
        mend = f"is the server running, and [repository] url right? Try: {by_hand}"
        return CheckResult("repository", False, reached.reason, mend)
    try:
        with scratch_folder("maas-check-", store) as scratch:
            found = ask(Offers(access_to(repository), scratch), _REFRESH_S)
    except (UnavailableError, OSError) as error:
        mend = f"is {repository.root} this repository's metadata/root.json? Try: {by_hand}"
        return CheckResult("repository", False, str(error), mend)
    return CheckResult("repository", True, f"{shown(repository.url)}, {found}")


def _fetch_by_hand(repository: RepositorySettings) -> str:
    """The line for a person to try; what is secret he has to put in."""
    query = f"?{HIDDEN}" if split_query(repository.url)[1] else ""
    options = {"--cacert": repository.ca, "-u": repository.username}
    given = "".join(f" {option} {value}" for option, value in options.items() if value)
    address = _timestamp(repository) + query
    return f"curl -fsS{given} " + (f"'{address}'" if query else address)


def _timestamp(repository: RepositorySettings) -> str:
    return split_query(repository.url)[0] + "/metadata/timestamp.json"
