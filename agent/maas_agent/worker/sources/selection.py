"""Chooses the source that a pipeline's configuration means."""

from maas_agent.base.log import Log
from maas_agent.config import CommandSource, MqttSource, Source
from maas_agent.worker.sources.command import CommandRunner
from maas_agent.worker.sources.interface import LocalSource


def local_source(config: Source, max_payload_bytes: int, log: Log, mark: str) -> LocalSource | None:
    """The source to run in this worker, or ``None`` if the samples come from the hub.

    ``mark`` is for the processes that it starts: see `maas_agent.host.descendants`.
    """
    match config:
        case CommandSource():
            return CommandRunner(config, max_payload_bytes, log, mark)
        case MqttSource():
            return None
