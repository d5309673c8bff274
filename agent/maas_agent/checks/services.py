"""What this device talks to: the broker, and the repository with the root metadata that it is trusted by."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from maas_agent.checks.clock import ServerTime, server_time
from maas_agent.checks.finding import Finding
from maas_agent.checks.questions import Offers, ask
from maas_agent.config import Broker, Config, Repository
from maas_agent.errors import MaasError, UnavailableError
from maas_agent.scratch import scratch_folder

_WAIT_S = 10.0
_BROKER_S = 20.0
"""For an attempt with each MQTT version."""
_REFRESH_S = 60.0


class Reached(msgspec.Struct, frozen=True):
    """Whether the repository's server answered (``reason`` if not), and its time, if it said so."""

    reason: str | None = None
    time: ServerTime | None = None


def broker(config: Config) -> Finding:
    """Connect as this device's second self."""
    from maas_agent.hub.probe import UnreachableError, probe_broker

    url = config.broker.url
    try:
        return Finding("broker", True, f"{url}, MQTT {probe_broker(config, _BROKER_S)}")
    except UnreachableError as error:
        return Finding("broker", False, f"{url}: {error}", error.mend or _try_by_hand(config.broker))
    except MaasError as error:
        return Finding("broker", False, f"{url}: {error}", "mend [broker]")


def _try_by_hand(broker: Broker) -> str:
    """Somebody else's client says more, or the same."""
    if broker.url.startswith("ws"):
        return "is the broker running, and [broker] right?"
    files = {"--cafile": broker.ca, "--cert": broker.certificate, "--key": broker.key, "-u": broker.username}
    options = "".join(f" {option} {value}" for option, value in files.items() if value)
    command = f"mosquitto_sub -L {broker.url}/'$SYS/broker/version' -C 1{options}"
    return f"is the broker running, and [broker] right? Try: {command}"


def reach(repository: Repository) -> Reached:
    """Ask the repository's server for the file that changes with every publication."""
    asked = time.time()
    try:
        with urllib.request.urlopen(_timestamp(repository), timeout=_WAIT_S) as answer:  # noqa: S310 - the user's URL
            answer.read(1)
            headers = answer.headers
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Reached(str(error.reason if isinstance(error, urllib.error.URLError) else error))
    return Reached(time=server_time(headers.get("Date"), headers.get("Age"), asked, time.time()))


def root(repository: Repository) -> Finding:
    """The trusted root metadata can be read."""
    mend = "copy metadata/root.json of the repository there; it is what this device trusts"
    try:
        with Path(repository.root).open("rb") as file:
            file.read(1)
    except OSError as error:
        return Finding("repository root", False, f"{repository.root}: {error.strerror}", mend)
    return Finding("repository root", True, repository.root)


def offers(repository: Repository, reached: Reached, store: Path) -> Finding:
    """The repository's metadata are signed as the root says, and fresh.

    Temporary files are in ``store`` where there is no other folder for them.
    """
    address = _timestamp(repository)
    if reached.reason is not None:
        mend = f"is the server running, and [repository] url right? Try: curl -fsS {address}"
        return Finding("repository", False, f"{address}: {reached.reason}", mend)
    try:
        with scratch_folder("maas-check-", store) as scratch:
            found = ask(Offers(repository.url, repository.root, scratch), _REFRESH_S)
    except (UnavailableError, OSError) as error:
        mend = f"is {repository.root} this repository's metadata/root.json? Try: curl -fsS {address}"
        return Finding("repository", False, str(error), mend)
    return Finding("repository", True, f"{repository.url}, {found}")


def _timestamp(repository: Repository) -> str:
    return repository.url.rstrip("/") + "/metadata/timestamp.json"
