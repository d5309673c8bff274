"""Chooses the source that a pipeline's configuration means."""

from collections.abc import Sequence
from typing import assert_never

from maas_agent.base.log import Log
from maas_agent.config import CommandSource, MqttSource, Source
from maas_agent.trials.confined import SourceAccess
from maas_agent.worker.sources.command import CommandRunner
from maas_agent.worker.sources.interface import LocalSource
from maas_agent.worker.sources.program import ForkedProgram, OwnProgram, Program


def program_of(config: Source, mark: str, *, fork: bool, close: Sequence[int]) -> Program | None:
    """What starts the program of a source that is one; ``fork`` if this process will not be able to.

    ``mark`` is for the processes that it starts: see `maas_agent.host.descendants`.
    """
    if not isinstance(config, CommandSource):
        return None
    own = OwnProgram(config.command, mark)
    return ForkedProgram(own, close) if fork else own


def local_source(config: Source, max_payload_bytes: int, log: Log, program: Program | None) -> LocalSource | None:
    """The source to run in this worker, or ``None`` if the samples come from the hub. ``program`` is that of it."""
    match config:
        case CommandSource() if program is not None:
            return CommandRunner(config, max_payload_bytes, log, program)
        case CommandSource() | MqttSource():
            return None
        case _:
            assert_never(config)


def access_of(config: Source) -> SourceAccess:
    """What the source needs in this worker. A program runs in a process of its own, and is not held by it."""
    match config:
        case MqttSource() | CommandSource():
            return SourceAccess()
        case _:
            assert_never(config)
