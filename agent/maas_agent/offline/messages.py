"""Defines what ``maas-agent infer`` tells its child, and what that says while it works: a JSON document a line."""

from typing import Any

import msgspec

from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits

NO_INPUT = "no_input"
BAD_DATA = "bad_data"
"""Codes beside those of `maas_agent.base.codes`, for what only files can have: they are not there, or not readable."""
NO_ANSWER = "no_answer"
"""Likewise: the process that runs the model says something else than an answer."""

Given = str | int | float | list[Any]
"""What a data file says a sample is: a class, a number, or several."""


class InferTask(msgspec.Struct, frozen=True):
    """Run ``bundle`` with ``setup`` on ``files``, in this order; ``-`` is standard input."""

    bundle: str
    files: tuple[str, ...]
    setup: Setup
    scratch: str
    """A folder for the models, which the parent removes."""
    limits: WorkerLimits = WorkerLimits()


class _Message(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base of what a child says."""


class Doing(_Message, frozen=True, tag="doing"):
    """What begins now; should the child die, it died of that."""

    what: str


class Mistake(msgspec.Struct, frozen=True):
    """Why something has no answer."""

    code: str
    message: str


class FileAnswered(_Message, frozen=True, tag="answered", omit_defaults=True):
    """The answer to a file, or to one ``row`` (from 0) of a file that holds many samples."""

    file: str
    row: int | None = None
    given: Given | None = None
    model: str | None = None
    version: str | None = None
    latency_ms: float | None = None
    """From the sample's bytes to the answer."""
    result: Any = None
    """As on the out topic; a list for a batch."""
    response: dict[str, Any] | None = None
    """To an Open Inference Protocol request."""
    error: Mistake | None = None


class Warned(_Message, frozen=True, tag="warned"):
    """The answers that follow are not to be trusted."""

    reason: str


class RunFailed(_Message, frozen=True, tag="failed"):
    """Nothing more will be answered. ``exit_code`` is that of `maas_agent.errors`."""

    exit_code: int
    reason: str


Message = Doing | FileAnswered | Warned | RunFailed
