"""``maas-agent infer``: a bundle's answers for files, by the very code that serves, in a process of its own."""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.base.terminal import write_document, write_line, write_lines
from maas_agent.host.scratch import scratch_folder
from maas_agent.offline.messages import NO_INPUT, FileAnswered, InferTask
from maas_agent.offline.run import answers
from maas_agent.offline.show import lines
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits

_TERMINATED = 128 + signal.SIGTERM


def infer(bundle: Path, files: list[str], setup: Setup, limits: WorkerLimits, *, as_json: bool) -> int:
    """Print an answer for each sample; returns 0, 66 if a file is not there, or 65 if one could not be answered.

    Raises `MaasError` if the bundle cannot be run; what was answered until then is printed.
    """
    with _ended_by_sigterm(), scratch_folder("maas-infer-") as scratch:
        found: list[FileAnswered] = []
        try:
            with closing(answers(InferTask(str(bundle), tuple(files), setup, scratch, limits), _warn)) as coming:
                for answer in coming:
                    found.append(answer)
        finally:
            _show(found, as_json)
    mistakes = {answer.error.code for answer in found if answer.error is not None}
    return 66 if NO_INPUT in mistakes else 65 if mistakes else 0


def _warn(reason: str) -> None:
    write_line(f"maas-agent: warning: {reason}", error=True)


def _show(found: list[FileAnswered], as_json: bool) -> None:
    if as_json and found:
        write_document([_document(answer) for answer in found])
    elif found:
        write_lines(lines(found))


def _document(answer: FileAnswered) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(answer)
    del document["kind"]
    return document


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM as an exception: the models' folder and the child go with this process."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
